# The one image that every step of the pipelines runs on. `mmr compile` names it by MMR_IMAGE; push
# it and give its digest there. Triton has an image of its own: serving/Dockerfile.
#
#   docker build --tag mmr-components:0.1.0 .

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/mmr
ENV PATH=/opt/mmr/bin:$PATH
# Versions first: this layer is built again only when they change.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir -p mmr components pipelines serving \
    && touch mmr/__init__.py components/__init__.py pipelines/__init__.py serving/__init__.py \
    && pip install --no-cache-dir --constraint constraints.txt \
        '.[train,pipelines,tracking,quality,client]' \
    && pip uninstall --yes mmr
COPY mmr mmr
COPY components components
COPY pipelines pipelines
COPY serving serving
# build/ holds the empty packages from above: being newer than these, they would be installed again.
RUN rm -rf build && pip install --no-cache-dir --no-deps .

FROM ${PYTHON_IMAGE}
# faiss and torch need OpenMP's runtime.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 mmr
COPY --from=build /opt/mmr /opt/mmr
ENV PATH=/opt/mmr/bin:$PATH \
    PYTHONUNBUFFERED=1
USER mmr
WORKDIR /home/mmr
RUN mmr --version
ENTRYPOINT ["mmr"]
CMD ["--help"]
