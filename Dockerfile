# The image that the submission runs in. repo2docker, with which the host builds images, takes this
# file where there is one and looks at no other; environment.yml and apt.txt ask for the same.
FROM debian:bookworm-slim

# Debian 12's own Python is 3.11. apt.txt holds names of packages, one a line.
ENV DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8
COPY apt.txt /tmp/apt.txt
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3.11-venv $(cat /tmp/apt.txt) \
    && rm -rf /var/lib/apt/lists/*

# Outside the home folder, which the platform may mount over.
COPY requirements.txt /tmp/requirements.txt
RUN python3.11 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --requirement /tmp/requirements.txt
ENV PATH=/opt/venv/bin:$PATH

# NVIDIA's container runtime shows a GPU to images that ask for it; its own images do.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The host's images run as user 1001, called aicrowd, with the code in that user's home.
RUN useradd --create-home --uid 1001 --shell /bin/bash aicrowd
USER aicrowd
WORKDIR /home/aicrowd
COPY --chown=1001:1001 . .

CMD ["python", "-c", "import run; print(run.ZEWDPCBaseRun().strategy.spec)"]
