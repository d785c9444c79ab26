"""Tiny checkpoints in exactly the hub's file layout, saved by the libraries that publish them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as token_models
from tokenizers import trainers as token_trainers
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    ConvNextImageProcessorPil,
    ConvNextV2Config,
    ConvNextV2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

TEXTS = [
    "Red floral dress, size_10!",
    "oak table",
    "White Wardrobe with 3 doors and brass handles",
    "a lamp",
    "query: sofa passage: bed",
]
SIZE = 32


def moved(model: PreTrainedModel) -> PreTrainedModel:
    """As if it had been trained: no parameter is where its initialisation left it."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def save(model: PreTrainedModel, out: Path, *, sharded: bool = False) -> None:
    model.save_pretrained(out, **({"max_shard_size": "40KB"} if sharded else {}))


def clip(out: Path, *, sharded: bool = False, eos_token_id: int | None = None) -> Path:
    """CLIP with its byte-level tokenizer; the common space is smaller than either half.

    OpenAI's files name the wrong end of text (`eos_token_id` 2), which transformers works around.
    """
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789,.!:_"]
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    vocab = {piece: number for number, piece in enumerate(pieces)}

    merges = [("e", "d</w>"), ("r", "ed</w>"), ("o", "a"), ("oa", "k</w>")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    vocab["<|startoftext|>"], vocab["<|endoftext|>"] = len(vocab), len(vocab) + 1
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)
    tokenizer.save_pretrained(out)
    half = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = CLIPConfig(
        text_config={
            **half,
            "hidden_size": 16,
            "vocab_size": len(vocab),
            "max_position_embeddings": 77,
            "bos_token_id": vocab["<|startoftext|>"],
            "eos_token_id": eos_token_id or vocab["<|endoftext|>"],
            "pad_token_id": vocab["<|endoftext|>"],
        },
        vision_config={**half, "hidden_size": 24, "image_size": SIZE, "patch_size": 8},
        projection_dim=20,
    )
    torch.manual_seed(0)
    save(moved(CLIPModel(config)), out, sharded=sharded)
    CLIPImageProcessorPil(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    ).save_pretrained(out)
    return out


def sentence_pieces() -> Tokenizer:
    """A piece tokenizer with `</s>` behind each text, as T5's and SigLIP's."""
    tokenizer = Tokenizer(token_models.Unigram())  # type: ignore[arg-type]
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    tokenizer.decoder = decoders.Metaspace()  # type: ignore[assignment]
    trainer = token_trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>"
    )
    tokenizer.train_from_iterator([text.lower() for text in TEXTS], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def siglip(out: Path, *, generation: int = 1, sharded: bool = False) -> Path:
    """SigLIP, or SigLIP 2 of fixed size, which differ in tokenizer and padding token."""
    pieces = sentence_pieces()
    pad = "</s>" if generation == 1 else "<pad>"
    PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token=pad,
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=12,
        padding_side="right",
        model_input_names=["input_ids"],
    ).save_pretrained(out)
    described = out / "tokenizer_config.json"
    content = json.loads(described.read_text())
    content["tokenizer_class"] = "SiglipTokenizer" if generation == 1 else "GemmaTokenizer"
    described.write_text(json.dumps(content))
    half = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    config = SiglipConfig(
        text_config={
            **half,
            "vocab_size": pieces.get_vocab_size(),
            "max_position_embeddings": 12,
            "projection_size": 16,
            "bos_token_id": None,
            "eos_token_id": 1,
            "pad_token_id": 1 if generation == 1 else 0,
        },
        vision_config={**half, "image_size": SIZE, "patch_size": 8},
    )
    torch.manual_seed(1)
    save(moved(SiglipModel(config)), out, sharded=sharded)
    SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(out)
    return out


def sentence_bert(out: Path, *, pooling: str = "mean") -> Path:
    """BERT as sentence-transformers publish it (MiniLM, E5, BGE), with the pooling it names."""
    tokenizer = Tokenizer(token_models.WordPiece(unk_token="[UNK]"))  # type: ignore[arg-type]
    tokenizer.normalizer = normalizers.BertNormalizer()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = token_trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=40,
    ).save_pretrained(out)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    torch.manual_seed(2)
    save(moved(BertModel(config)), out)
    (out / "1_Pooling").mkdir()
    (out / "1_Pooling" / "config.json").write_text(
        json.dumps(
            {
                "word_embedding_dimension": 16,
                "pooling_mode_cls_token": pooling == "cls",
                "pooling_mode_mean_tokens": pooling == "mean",
            }
        )
    )
    return out


def vit(out: Path) -> Path:
    """ViT without a pooler's weights, as checkpoints trained for classification have it."""
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=SIZE,
        patch_size=8,
    )
    torch.manual_seed(3)
    save(moved(ViTModel(config, add_pooling_layer=False)), out)
    ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(out)
    return out


def convnext(out: Path) -> Path:
    """ConvNeXt V2 with two stages."""
    config = ConvNextV2Config(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], image_size=SIZE)
    torch.manual_seed(4)
    save(moved(ConvNextV2Model(config)), out)
    ConvNextImageProcessorPil(size={"shortest_edge": SIZE}).save_pretrained(out)
    return out
