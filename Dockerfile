# An image that runs `make reproduce` (CONTRIBUTING.md, "Containers").
FROM python:3.13-slim-bookworm

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /char-rnn
COPY . .
RUN make setup

CMD ["make", "reproduce"]
