# The two commands on a clean machine:
#   docker build --target test .                                  every check; it ends without an error if all pass
#   docker build --tag kmod . && docker run -p 8000:8000 kmod     the book, at http://localhost:8000
FROM python:3.11-slim-bookworm AS machine
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        chromium fontconfig fonts-dejavu fonts-liberation git make \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

FROM machine AS installed
WORKDIR /kmod
COPY . .
RUN make .venv/.installed

FROM installed AS test
RUN make --keep-going test

FROM installed AS book
RUN make book
EXPOSE 8000
CMD ["python", "-m", "http.server", "--directory", "_build/html", "8000"]
