"""The Kubeflow pipelines: wiring, resources, caching and retries; no arithmetic."""
