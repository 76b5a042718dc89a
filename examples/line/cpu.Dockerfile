# A line on the CPU. From the checkout's root:
#   docker build -f examples/line/cpu.Dockerfile -t pyramidflow:cpu .
FROM python:3.12-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# PYRAMIDFLOW_CPU=1: an image without the compiled kernels would be slow without a word.
RUN PYRAMIDFLOW_CPU=1 PYRAMIDFLOW_CUDA=0 pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
# PyTorch for the CPU is a tenth of the size of the one for GPUs.
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
        "$(echo /wheels/pyramidflow-*.whl)[service,opcua,modbus]" \
    && rm -rf /wheels \
    && useradd --system --uid 10001 --create-home --home-dir /line pyramidflow
USER 10001
WORKDIR /line
VOLUME /line
STOPSIGNAL SIGTERM
ENTRYPOINT ["pyramidflow"]
CMD ["run", "line.toml"]
