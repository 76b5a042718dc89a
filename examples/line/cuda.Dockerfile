# A line on an NVIDIA GPU. From the checkout's root:
#   docker build -f examples/line/cuda.Dockerfile -t pyramidflow:cuda .
# The CUDA of the image must be one that the installed PyTorch has been built for.
FROM nvidia/cuda:13.0.2-devel-ubuntu24.04 AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python3 -m venv /build \
    && PYRAMIDFLOW_CPU=1 PYRAMIDFLOW_CUDA=1 \
        /build/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM nvidia/cuda:13.0.2-base-ubuntu24.04
# Triton compiles what starts its kernels where they run: with a C compiler and Python's headers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        gcc libc6-dev libgomp1 python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN python3 -m venv /opt/pyramidflow \
    && /opt/pyramidflow/bin/pip install --no-cache-dir \
        "$(echo /wheels/pyramidflow-*.whl)[service,opcua,modbus]" \
    && rm -rf /wheels \
    && useradd --system --uid 10001 --create-home --home-dir /line pyramidflow
ENV PATH=/opt/pyramidflow/bin:$PATH
USER 10001
WORKDIR /line
VOLUME /line
STOPSIGNAL SIGTERM
ENTRYPOINT ["pyramidflow"]
CMD ["run", "line.toml"]
