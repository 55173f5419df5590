"""Whether what the project claims comes out again: experiments, claims, the report; a run trained again."""
