"""Hugging Face's architectures, small and with random weights, built from their own classes.

Each has a few layers and the smallest input that it takes. What the models give is an object with
many fields, caches among them; the networks here give one of them, a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.bench.networks import LISTS, NETWORKS, Network
from experiments.bench.networks.waking import wake
from experiments.ground.registry import unknown

BATCH, TOKENS, VOCABULARY = 2, 8, 100
Inputs = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Architecture:
    """How a network is built and fed.

    Attributes:
        family: what its kind is called in tables.
        model: its class.
        config: the class of its settings.
        settings: what is set apart from the defaults.
        inputs: makes example inputs by name.
        output: the field of the result that is given.
    """

    family: str
    model: str
    config: str
    settings: Mapping[str, Any]
    inputs: Inputs
    output: str = "logits"


@NETWORKS.register("huggingface/")
def huggingface(name: str) -> Network:
    """Builds a network by its name here."""
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    from spa.bridge.torchvision_shim import import_torchvision

    import_torchvision()
    import transformers as library

    plan = ARCHITECTURES[name]
    config = getattr(library, plan.config)(**plan.settings)
    config.use_cache = False
    module = getattr(library, plan.model)(config).eval()
    wake(module)
    inputs = plan.inputs()
    return Network(
        plan.family, _field_alone(module, tuple(inputs), plan.output), tuple(inputs.values())
    )


def _field_alone(network: Any, names: tuple[str, ...], field: str) -> Any:
    """A network that takes its inputs in a row and gives one field of its result."""
    from torch import Tensor, nn

    class FieldAlone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(
            self, first: Tensor, second: Tensor | None = None, third: Tensor | None = None
        ) -> Tensor:  # torch.export wants one name for each
            inputs = dict(zip(names, (first, second, third), strict=False))
            result: Tensor = self.network(**inputs)[field]
            return result

    return FieldAlone().eval()


# --- inputs ---------------------------------------------------------------------------------------


def _tokens(length: int = TOKENS) -> Any:
    import torch

    return torch.randint(3, VOCABULARY, (BATCH, length))  # the first ones have meanings


def _text() -> dict[str, Any]:
    return {"input_ids": _tokens()}


def _text_and_mask() -> dict[str, Any]:
    import torch

    tokens = _tokens()
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def _two_texts() -> dict[str, Any]:
    return {"input_ids": _tokens(), "decoder_input_ids": _tokens(5)}


def _image(size: int) -> Inputs:
    def make() -> dict[str, Any]:
        import torch

        return {"pixel_values": torch.randn(BATCH, 3, size, size)}

    return make


def _text_and_image(size: int) -> Inputs:
    def make() -> dict[str, Any]:
        return {**_text_and_mask(), **_image(size)()}

    return make


def _image_and_point() -> dict[str, Any]:
    import torch

    points = torch.rand(BATCH, 1, 1, 2) * 32  # (N, prompts, points, 2)
    return {**_image(64)(), "input_points": points}


def _spectrogram_and_text() -> dict[str, Any]:
    import torch

    tokens = _tokens(5)
    return {
        "input_features": torch.randn(BATCH, 16, 32),  # (N, frequencies, T)
        "decoder_input_ids": tokens,
        "decoder_attention_mask": torch.ones_like(tokens),
    }


def _sound() -> dict[str, Any]:
    import torch

    return {"input_values": torch.randn(BATCH, 800)}


# --- settings -------------------------------------------------------------------------------------

_WIDTHS = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_BERT = {**_WIDTHS, "intermediate_size": 128, "max_position_embeddings": 32}
_LLAMA = {
    **_BERT,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_VISION = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "image_size": 32,
    "patch_size": 8,
}
_PAIR = {
    "vocab_size": VOCABULARY,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_position_embeddings": 32,
}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _encoder(stem: str, settings: Mapping[str, Any], head: str = "ForMaskedLM") -> Architecture:
    return Architecture("text encoder", stem + head, f"{stem}Config", settings, _text_and_mask)


def _decoder(stem: str, settings: Mapping[str, Any], head: str = "ForCausalLM") -> Architecture:
    return Architecture("text decoder", stem + head, f"{stem}Config", settings, _text_and_mask)


def _classifier(stem: str, settings: Mapping[str, Any], size: int) -> Architecture:
    return Architecture(
        "vision", f"{stem}ForImageClassification", f"{stem}Config", settings, _image(size)
    )


ARCHITECTURES: dict[str, Architecture] = {
    # Text encoders.
    "bert": _encoder("Bert", _BERT),
    "bert-classifier": _encoder("Bert", _BERT, "ForSequenceClassification"),
    "distilbert": _encoder(
        "DistilBert",
        {"vocab_size": VOCABULARY, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128,
         "max_position_embeddings": 32},
    ),
    "roberta": _encoder("Roberta", _BERT),
    "xlm-roberta": _encoder("XLMRoberta", _BERT),
    "camembert": _encoder("Camembert", _BERT),
    "albert": _encoder("Albert", {**_BERT, "embedding_size": 32}),
    "electra": _encoder("Electra", {**_BERT, "embedding_size": 32}),
    "deberta": _encoder(
        "Deberta",
        {**_BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"],
         "position_biased_input": False, "max_relative_positions": 32},
    ),
    "deberta-v2": _encoder(
        "DebertaV2",
        {**_BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"],
         "position_biased_input": False, "position_buckets": 16, "share_att_key": True,
         "norm_rel_ebd": "layer_norm"},
    ),
    "mobilebert": _encoder(
        "MobileBert",
        {**_BERT, "embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    ),
    "mpnet": _encoder("MPNet", _BERT),
    "modernbert": _encoder("ModernBert", {**_BERT, **_SPECIAL, "cls_token_id": 1,
                                          "sep_token_id": 2}),
    "squeezebert": _encoder("SqueezeBert", {**_BERT, "embedding_size": 64}),
    "funnel": _encoder(
        "Funnel",
        {"vocab_size": VOCABULARY, "block_sizes": [1, 1], "num_decoder_layers": 1, "d_model": 64,
         "n_head": 4, "d_head": 16, "d_inner": 128},
    ),
    "roformer": _encoder("RoFormer", _BERT),
    "nystromformer": _encoder("Nystromformer", {**_BERT, "num_landmarks": 8,
                                                "segment_means_seq_len": 8}),
    "fnet": Architecture("text encoder", "FNetForMaskedLM", "FNetConfig", _BERT, _text),
    # Text decoders.
    "gpt2": _decoder(
        "GPT2",
        {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32,
         **_SPECIAL},
        "LMHeadModel",
    ),
    "gpt-neo": _decoder(
        "GPTNeo",
        {"vocab_size": VOCABULARY, "hidden_size": 64, "num_layers": 2, "num_heads": 4,
         "attention_types": [[["global", "local"], 1]], "window_size": 4,
         "max_position_embeddings": 32, **_SPECIAL},
    ),
    "gpt-neox": _decoder("GPTNeoX", {**_BERT, **_SPECIAL}),
    "gptj": _decoder(
        "GPTJ",
        {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32,
         "rotary_dim": 8, **_SPECIAL},
    ),
    "gpt-bigcode": _decoder(
        "GPTBigCode",
        {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32,
         **_SPECIAL},
    ),
    "opt": _decoder(
        "OPT",
        {**_WIDTHS, "ffn_dim": 128, "max_position_embeddings": 32, "word_embed_proj_dim": 64,
         **_SPECIAL},
    ),
    "bloom": _decoder(
        "Bloom", {"vocab_size": VOCABULARY, "hidden_size": 64, "n_layer": 2, "n_head": 4}
    ),
    "falcon": _decoder("Falcon", {**_WIDTHS, **_SPECIAL}),
    "llama": _decoder("Llama", _LLAMA),
    "mistral": _decoder("Mistral", {**_LLAMA, "sliding_window": 4}),
    "qwen2": _decoder("Qwen2", _LLAMA),
    "qwen3": _decoder("Qwen3", {**_LLAMA, "head_dim": 16}),
    "gemma": _decoder("Gemma", {**_LLAMA, "head_dim": 16}),
    "gemma2": _decoder("Gemma2", {**_LLAMA, "head_dim": 16, "sliding_window": 4}),
    "gemma3": Architecture(
        "text decoder", "Gemma3ForCausalLM", "Gemma3TextConfig",
        {**_LLAMA, "head_dim": 16, "sliding_window": 4}, _text_and_mask,
    ),
    "phi": _decoder("Phi", _LLAMA),
    "phi3": _decoder("Phi3", _LLAMA),
    "stablelm": _decoder("StableLm", _LLAMA),
    "olmo2": _decoder("Olmo2", _LLAMA),
    "granite": _decoder("Granite", _LLAMA),
    "starcoder2": _decoder("Starcoder2", _LLAMA),
    "cohere": _decoder("Cohere", _LLAMA),
    "smollm3": _decoder("SmolLM3", _LLAMA),
    "mixtral": _decoder(
        "Mixtral", {**_LLAMA, "num_local_experts": 4, "experts_implementation": "batched_mm"}
    ),
    "qwen2-moe": _decoder(
        "Qwen2Moe",
        {**_LLAMA, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
         "shared_expert_intermediate_size": 64, "experts_implementation": "batched_mm"},
    ),
    "mamba": _decoder(
        "Mamba",
        {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    ),
    "xlnet": Architecture(
        "text decoder", "XLNetLMHeadModel", "XLNetConfig",
        {"vocab_size": VOCABULARY, "d_model": 64, "n_layer": 2, "n_head": 4, "d_inner": 128},
        _text,
    ),
    # Text to text.
    "t5": Architecture(
        "text to text", "T5ForConditionalGeneration", "T5Config",
        {"vocab_size": VOCABULARY, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2,
         "num_heads": 4, "decoder_start_token_id": 0},
        _two_texts,
    ),
    "bart": Architecture(
        "text to text", "BartForConditionalGeneration", "BartConfig",
        {**_PAIR, **_SPECIAL, "decoder_start_token_id": 2, "forced_eos_token_id": 2}, _two_texts,
    ),
    "mbart": Architecture(
        "text to text", "MBartForConditionalGeneration", "MBartConfig", {**_PAIR, **_SPECIAL},
        _two_texts,
    ),
    "marian": Architecture(
        "text to text", "MarianMTModel", "MarianConfig",
        {**_PAIR, **_SPECIAL, "decoder_start_token_id": 0}, _two_texts,
    ),
    "pegasus": Architecture(
        "text to text", "PegasusForConditionalGeneration", "PegasusConfig",
        {**_PAIR, **_SPECIAL, "decoder_start_token_id": 0}, _two_texts,
    ),
    # Vision.
    "vit": _classifier("ViT", _VISION, 32),
    "deit": _classifier("DeiT", _VISION, 32),
    "beit": _classifier("Beit", {**_VISION, "use_relative_position_bias": True}, 32),
    "dinov2": _classifier(
        "Dinov2", {**_VISION, "mlp_ratio": 2}, 32
    ),
    "swin": _classifier(
        "Swin",
        {"image_size": 32, "patch_size": 2, "embed_dim": 32, "depths": [2, 2],
         "num_heads": [2, 4], "window_size": 4},
        32,
    ),
    "swinv2": _classifier(
        "Swinv2",
        {"image_size": 32, "patch_size": 2, "embed_dim": 32, "depths": [2, 2],
         "num_heads": [2, 4], "window_size": 4},
        32,
    ),
    "convnext": _classifier(
        "ConvNext", {"hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 2, 1]}, 32
    ),
    "convnextv2": _classifier(
        "ConvNextV2", {"hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 2, 1]}, 32
    ),
    "resnet": _classifier(
        "ResNet",
        {"embedding_size": 32, "hidden_sizes": [64, 128], "depths": [2, 2]},
        32,
    ),
    "regnet": _classifier(
        "RegNet",
        {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 2], "groups_width": 16},
        32,
    ),
    "mobilenet-v2": _classifier("MobileNetV2", {"depth_multiplier": 0.35}, 64),
    "mobilevit": _classifier(
        "MobileViT",
        {"image_size": 64, "hidden_sizes": [32, 48, 64], "neck_hidden_sizes":
         [16, 16, 32, 32, 48, 64, 96]},
        64,
    ),
    "poolformer": _classifier(
        "PoolFormer", {"hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 2, 1]}, 64
    ),
    "efficientnet": _classifier(
        "EfficientNet", {"width_coefficient": 0.5, "depth_coefficient": 0.5, "image_size": 64,
                         "hidden_dim": 640}, 64
    ),
    "levit": _classifier(
        "Levit",
        {"image_size": 64, "hidden_sizes": [32, 64, 96], "num_attention_heads": [2, 4, 6],
         "depths": [1, 1, 1], "key_dim": [8, 8, 8]},
        64,
    ),
    "pvt": _classifier(
        "Pvt", {"image_size": 64, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1],
                "num_attention_heads": [1, 2, 4, 8], "num_encoder_blocks": 4}, 64
    ),
    "segformer": Architecture(
        "vision", "SegformerForSemanticSegmentation", "SegformerConfig",
        {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1], "decoder_hidden_size": 64,
         "num_attention_heads": [1, 2, 4, 8], "num_labels": 10}, _image(64),
    ),
    "dpt": Architecture(
        "vision", "DPTForDepthEstimation", "DPTConfig",
        {**_VISION, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3],
         "neck_hidden_sizes": [16, 32, 64, 64], "fusion_hidden_size": 32}, _image(32),
        "predicted_depth",
    ),
    "yolos": Architecture(
        "vision", "YolosForObjectDetection", "YolosConfig",
        {**_VISION, "image_size": [32, 32], "num_detection_tokens": 5}, _image(32),
    ),
    "detr": Architecture(
        "vision", "DetrForObjectDetection", "DetrConfig",
        {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
         "num_queries": 10, "use_timm_backbone": False, "use_pretrained_backbone": False,
         "backbone": None, "backbone_config": {
             "model_type": "resnet", "embedding_size": 32, "hidden_sizes": [64, 128],
             "depths": [1, 1], "out_features": ["stage2"]}},
        _image(64),
    ),
    "sam": Architecture(
        "vision", "SamModel", "SamConfig",
        {
            "vision_config": {
                **_VISION, "image_size": 64, "output_channels": 64, "mlp_dim": 128,
                "window_size": 4, "global_attn_indexes": [1], "num_pos_feats": 32},
            "prompt_encoder_config": {
                "hidden_size": 64, "image_size": 64, "patch_size": 8, "mask_input_channels": 8},
            "mask_decoder_config": {
                "hidden_size": 64, "mlp_dim": 128, "num_attention_heads": 4,
                "iou_head_hidden_dim": 64},
        },
        _image_and_point, "pred_masks",
    ),
    # Text and images.
    "clip": Architecture(
        "text and images", "CLIPModel", "CLIPConfig",
        {"text_config": {**_BERT, **_SPECIAL}, "vision_config": _VISION, "projection_dim": 32},
        _text_and_image(32), "logits_per_image",
    ),
    "siglip": Architecture(
        "text and images", "SiglipModel", "SiglipConfig",
        {"text_config": {**_BERT, **_SPECIAL}, "vision_config": _VISION},
        _text_and_image(32), "logits_per_image",
    ),
    # Sound.
    "whisper": Architecture(
        "sound", "WhisperForConditionalGeneration", "WhisperConfig",
        {**_PAIR, **_SPECIAL, "num_mel_bins": 16, "max_source_positions": 16,
         "max_target_positions": 16, "decoder_start_token_id": 1}, _spectrogram_and_text,
    ),
    "wav2vec2": Architecture(
        "sound", "Wav2Vec2ForCTC", "Wav2Vec2Config",
        {**_WIDTHS, "intermediate_size": 128, "conv_dim": [32, 32, 32],
         "conv_kernel": [10, 3, 3], "conv_stride": [5, 2, 2], "num_feat_extract_layers": 3,
         "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}, _sound,
    ),
    "hubert": Architecture(
        "sound", "HubertForCTC", "HubertConfig",
        {**_WIDTHS, "intermediate_size": 128, "conv_dim": [32, 32, 32],
         "conv_kernel": [10, 3, 3], "conv_stride": [5, 2, 2], "num_feat_extract_layers": 3,
         "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}, _sound,
    ),
    "audio-spectrogram": Architecture(
        "sound", "ASTForAudioClassification", "ASTConfig",
        {**_VISION, "max_length": 32, "num_mel_bins": 32, "frequency_stride": 8,
         "time_stride": 8},
        lambda: {"input_values": _image(32)()["pixel_values"][:, 0]},
    ),
}  # fmt: skip


def _names() -> tuple[str, ...]:
    return tuple(ARCHITECTURES)


LISTS["huggingface"] = _names
