# The vfi command, on a CPU or on NVIDIA GPUs. Not yet run: no machine with Docker was there.
#
#     docker build -t vfi --build-arg TORCH_CPU_INDEX=URL .      CPU; the install page of PyTorch names its index of CPU wheels
#     docker build -t vfi --build-arg CUDA=1 .                   GPU; nvcc is taken from the package index
#     docker run --rm -v "$PWD:/data" -w /data vfi interpolate clip.mp4 --out slow.mp4
#     docker run --rm --gpus all ...                             GPU; NVIDIA's container toolkit passes it in
#     docker build -t vfi:ray --build-arg EXTRAS=models,ray --build-arg MORE="ray[default] s3fs" ...    a node of a cluster
ARG PYTHON=3.13

# What .devcontainer uses, too.
FROM python:${PYTHON}-slim AS tools
RUN apt-get update && apt-get install --yes --no-install-recommends g++ git make && rm -rf /var/lib/apt/lists/*

FROM tools AS build
ARG CUDA=0
ARG TORCH_CPU_INDEX=
ENV VFI_KERNELS_CUDA=${CUDA} CUDA_HOME=/opt/toolkit/nvidia/cu13
WORKDIR /source
COPY constraints.txt build_backend/cuda_toolkit.txt ./
RUN python -m venv /opt/vfi \
 && /opt/vfi/bin/python -m pip install --no-cache-dir --constraint constraints.txt \
      ${TORCH_CPU_INDEX:+--extra-index-url ${TORCH_CPU_INDEX}} torch numpy "setuptools>=77" ninja \
 && if [ "${CUDA}" = 1 ]; then \
      python -m pip install --no-cache-dir --no-deps --target /opt/toolkit --requirement cuda_toolkit.txt; fi
ARG EXTRAS=models
ARG MORE=
COPY . .
RUN /opt/vfi/bin/python -m pip install --no-cache-dir --constraint constraints.txt --no-build-isolation ".[${EXTRAS}]" \
 && if [ -n "${MORE}" ]; then /opt/vfi/bin/python -m pip install --no-cache-dir ${MORE}; fi

FROM python:${PYTHON}-slim
COPY --from=build /opt/vfi /opt/vfi
ENV PATH=/opt/vfi/bin:${PATH}
RUN useradd --create-home vfi
USER vfi
ENTRYPOINT ["vfi"]
