"""The whole workflow: from a feed to a release that serves, with a gate before it.

    import_data ─ validate_data ─ train_text_only ─ finetune_vision ─ align_queries ─ train_fusion
                                         │                                                 │
                                    the baseline                           embed_catalogue ┤
                                         │                                                 │
                     find_champion ───── └──────── evaluate_gate ──────── build_index ────┘
    unless rejected:  register_release
    if promoted:      deploy_triton

Every parameter is a string: a path, a URI or settings as JSON. KFP's local runner takes no
artifacts at the top of a pipeline.
"""

from dataclasses import replace
from typing import NamedTuple

from kfp import dsl

from components.align_queries.component import align_queries
from components.build_index.component import build_index
from components.deploy_triton.component import deploy_triton
from components.embed_catalogue.component import embed_catalogue
from components.evaluate_gate.component import evaluate_gate
from components.find_champion.component import find_champion
from components.finetune_vision.component import finetune_vision
from components.import_data.component import import_data
from components.register_release.component import register_release
from components.train_fusion.component import train_fusion
from components.train_text_only.component import train_text_only
from components.validate_data.component import validate_data
from pipelines.resources import LIGHT, NETWORK, Resources


class RetrainOutputs(NamedTuple):
    """What the caller reads afterwards; what the branches write is found in the release."""

    dataset: dsl.Dataset
    validation: dsl.Artifact
    gate: dsl.Artifact


def build_retrain(training: Resources) -> dsl.base_component.BaseComponent:
    """Builds the pipeline.

    Args:
        training: What the training steps and the embedding of the catalogue ask for; its volume
            is that of every step.
    """
    light, network = (replace(kind, volume=training.volume) for kind in (LIGHT, NETWORK))

    @dsl.pipeline(name="retrain", description="Train, prove, release and deploy a retriever.")
    def retrain(
        source: str,
        source_revision: str,
        workspace: str,
        tracking_uri: str,
        code_version: str,
        import_settings: str,
        prepare_settings: str,
        validation_settings: str,
        vision_settings: str,
        text_only_settings: str,
        align_settings: str,
        fusion_settings: str,
        gate_settings: str,
        index_settings: str,
        release_settings: str,
        serve_settings: str,
        lineage: str,
        previous_dataset: str = "",
        deploy: str = "yes",
    ) -> RetrainOutputs:
        shared = {"workspace": workspace, "code_version": code_version}

        imported = light.apply(
            import_data(
                source=source,
                source_revision=source_revision,
                import_settings=import_settings,
                prepare_settings=prepare_settings,
                workspace=workspace,
                code_version=code_version,
            )
        )
        dataset = imported.outputs["dataset"]
        validated = light.apply(
            validate_data(
                dataset=dataset,
                previous=previous_dataset,
                settings=validation_settings,
                workspace=workspace,
                code_version=code_version,
            )
        )

        text_only = training.apply(
            train_text_only(dataset=dataset, settings=text_only_settings, **shared).after(validated)
        )
        vision = training.apply(
            finetune_vision(
                dataset=dataset,
                text_only=text_only.outputs["model"],
                settings=vision_settings,
                **shared,
            )
        )
        aligned = training.apply(
            align_queries(
                dataset=dataset, vision=vision.outputs["model"], settings=align_settings, **shared
            )
        )
        fused = training.apply(
            train_fusion(
                dataset=dataset,
                aligned=aligned.outputs["model"],
                settings=fusion_settings,
                **shared,
            )
        )
        vectors = training.apply(
            embed_catalogue(dataset=dataset, model=fused.outputs["model"], **shared)
        )
        index = light.apply(
            build_index(
                vectors=vectors.outputs["vectors"],
                settings=index_settings,
                code_version=code_version,
            )
        )
        # As late as can be: another champion may be promoted while this one trains.
        champion = network.apply(
            find_champion(workspace=workspace, tracking_uri=tracking_uri, required="no").after(
                fused
            )
        )
        champion.set_caching_options(False)
        gate = training.apply(
            evaluate_gate(
                dataset=dataset,
                candidate=fused.outputs["model"],
                baseline=text_only.outputs["model"],
                index=index.outputs["index"],
                champion=champion.outputs["release"],
                settings=gate_settings,
                lineage=lineage,
                tracking_uri=tracking_uri,
                **shared,
            )
        )

        # The local runner resolves a condition on a task's single return only: not on any other
        # output, which it takes for false without an error.
        decision = gate.outputs["Output"]
        with dsl.If(decision != "reject", name="unless-rejected"):
            release = network.apply(
                register_release(
                    dataset=dataset,
                    model=fused.outputs["model"],
                    index=index.outputs["index"],
                    gate=gate.outputs["gate"],
                    validation=validated.outputs["validation"],
                    parent="",
                    settings=release_settings,
                    lineage=lineage,
                    workspace=workspace,
                    tracking_uri=tracking_uri,
                )
            )
            release.set_caching_options(False)  # the registry may have changed since
            with dsl.If(decision == "promote", name="if-promoted"):  # noqa: SIM117
                with dsl.If(deploy == "yes", name="if-deploying"):
                    deployed = network.apply(
                        deploy_triton(
                            release_id=release.output,
                            champion=champion.outputs["release"],
                            why="the gate decided to promote it",
                            who="pipeline retrain",
                            serve_settings=serve_settings,
                            workspace=workspace,
                            tracking_uri=tracking_uri,
                        )
                    )
                    deployed.set_caching_options(False)  # the server's state is not an artifact

        return RetrainOutputs(
            dataset=dataset,
            validation=validated.outputs["validation"],
            gate=gate.outputs["gate"],
        )

    return retrain


retrain = build_retrain(Resources(cpu="4", memory="16G"))
