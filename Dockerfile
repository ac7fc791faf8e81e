# The environment of the lock on plain Python; `docker build -t plumbline . && docker run plumbline make quick`.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends gcc git make && rm -rf /var/lib/apt/lists/*
WORKDIR /plumbline
COPY . .
RUN make setup PYTHON=python3.11
CMD ["make", "demo"]
