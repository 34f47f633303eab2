# docker build --tag sat . && docker run --rm --volume "$PWD:/work" sat run study.toml --out runs/study
# With TensorFlow: --build-arg BACKEND=tensorflow. On a GPU: docker run --gpus all ... --device cuda
FROM python:3.12-slim-bookworm
ARG BACKEND=torch
WORKDIR /opt/sat-core
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY sat_core ./sat_core
COPY backends ./backends
COPY datasets ./datasets
COPY evaluation ./evaluation
RUN pip install --no-cache-dir --constraint constraints.txt ".[${BACKEND},autoattack,data,report,tensorboard]"
# who runs it owns what it writes: docker run --user "$(id -u):$(id -g)"
ENV SAT_BACKEND=${BACKEND} HOME=/tmp
WORKDIR /work
ENTRYPOINT ["sat"]
CMD ["--help"]
