"""The step that turns a feed into a prepared dataset."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def import_data(
    source: str,
    source_revision: str,
    import_settings: str,
    prepare_settings: str,
    workspace: str,
    code_version: str,
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Imports a feed, or takes a dataset as it is, and prepares it: splits, image size.

    Args:
        source: A feed, a dataset directory, or `showroom:products=N,queries=M,seed=S`.
        source_revision: Content hash of the source, so that new content misses the step cache.
        import_settings: `ImportConfig` as JSON.
        prepare_settings: `PrepareConfig` as JSON.
        workspace: Workspace directory; its cache knows photographs that were decoded before.
        code_version: Hash of the library's source, so that new code misses the step cache.
        dataset: The prepared dataset.
        metrics: Row counts.
    """
    import tempfile
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.config.data import ImportConfig, PrepareConfig
    from mmr.workspace import Workspace

    out = Path(dataset.path)
    with step("import_data", metrics) as current, tempfile.TemporaryDirectory(dir=out.parent) as t:
        imported = Path(source)
        if not (imported / "dataset.json").is_file():
            imported = Path(t) / "imported"
            importing = ImportConfig.model_validate_json(import_settings)
            cache = Workspace.open(Path(workspace), create=True).cache
            stages.import_data(source=source, out=imported, settings=importing, cache=cache)
        preparing = PrepareConfig.model_validate_json(prepare_settings)
        report = stages.prepare(dataset=imported, out=out, settings=preparing)
        current.log(report.as_metrics())
