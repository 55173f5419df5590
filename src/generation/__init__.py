"""Text generation: sampling from a trained model."""
