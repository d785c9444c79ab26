"""New, changed and removed products into a new release of the champion's encoder, without training.

    find_champion ─ import_data ─ validate_data ─ embed_changes
    if anything changed:  build_index ─ check_refresh
    if nothing got lost:  register_release
    if deploying:         deploy_triton

Every parameter is a string, as in `pipelines.retrain`.
"""

from dataclasses import replace
from typing import NamedTuple

from kfp import dsl

from components.build_index.component import build_index
from components.check_refresh.component import check_refresh
from components.deploy_triton.component import deploy_triton
from components.embed_changes.component import embed_changes
from components.find_champion.component import find_champion
from components.import_data.component import import_data
from components.register_release.component import register_release
from components.validate_data.component import validate_data
from pipelines.resources import LIGHT, NETWORK, Resources


class RefreshOutputs(NamedTuple):
    """What the caller reads afterwards; what the branches write is found in the release."""

    dataset: dsl.Dataset
    validation: dsl.Artifact
    vectors: dsl.Dataset


def build_refresh(embedding: Resources) -> dsl.base_component.BaseComponent:
    """Builds the pipeline.

    Args:
        embedding: What the embedding of new products asks for; its volume is that of every step.
    """
    light, network = (replace(kind, volume=embedding.volume) for kind in (LIGHT, NETWORK))

    @dsl.pipeline(
        name="refresh", description="Take a newer catalogue into the release that serves."
    )
    def refresh(
        source: str,
        source_revision: str,
        workspace: str,
        tracking_uri: str,
        code_version: str,
        import_settings: str,
        refresh_settings: str,
        serve_settings: str,
        lineage: str,
        deploy: str = "yes",
    ) -> RefreshOutputs:
        found = network.apply(
            find_champion(workspace=workspace, tracking_uri=tracking_uri, required="yes")
        )
        found.set_caching_options(False)  # the registry may have changed since
        champion = found.outputs["release"]
        imported = light.apply(
            import_data(
                source=source,
                source_revision=source_revision,
                import_settings=import_settings,
                prepare_settings=found.outputs["prepare_settings"],
                workspace=workspace,
                code_version=code_version,
            )
        )
        dataset = imported.outputs["dataset"]
        validated = light.apply(
            validate_data(
                dataset=dataset,
                previous="",
                settings=found.outputs["validation_settings"],
                workspace=workspace,
                code_version=code_version,
            )
        )
        embedded = embedding.apply(
            embed_changes(
                dataset=dataset,
                champion=champion,
                settings=refresh_settings,
                workspace=workspace,
                code_version=code_version,
            ).after(validated)
        )
        with dsl.If(embedded.outputs["Output"] == "changed", name="if-changed"):
            index = light.apply(
                build_index(
                    vectors=embedded.outputs["vectors"],
                    settings=found.outputs["index_settings"],
                    code_version=code_version,
                )
            )
            gate = light.apply(
                check_refresh(
                    dataset=dataset,
                    vectors=embedded.outputs["vectors"],
                    index=index.outputs["index"],
                    champion=champion,
                    settings=refresh_settings,
                    lineage=lineage,
                )
            )
            gate.set_caching_options(False)  # who asks again wants the reasons
            with dsl.If(gate.outputs["Output"] == "promote", name="if-nothing-lost"):
                release = network.apply(
                    register_release(
                        dataset=dataset,
                        model=embedded.outputs["model"],
                        index=index.outputs["index"],
                        gate=gate.outputs["gate"],
                        validation=validated.outputs["validation"],
                        parent=champion,
                        settings=found.outputs["release_settings"],
                        lineage=lineage,
                        workspace=workspace,
                        tracking_uri=tracking_uri,
                    )
                )
                release.set_caching_options(False)
                with dsl.If(deploy == "yes", name="if-deploying"):
                    deployed = network.apply(
                        deploy_triton(
                            release_id=release.output,
                            champion=champion,
                            why="the catalogue was refreshed",
                            who="pipeline refresh",
                            serve_settings=serve_settings,
                            workspace=workspace,
                            tracking_uri=tracking_uri,
                        )
                    )
                    deployed.set_caching_options(False)

        return RefreshOutputs(
            dataset=dataset,
            validation=validated.outputs["validation"],
            vectors=embedded.outputs["vectors"],
        )

    return refresh


refresh = build_refresh(Resources(cpu="4", memory="16G"))
