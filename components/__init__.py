"""One folder per step of the Kubeflow pipelines: artifacts in, one stage call, artifacts out."""
