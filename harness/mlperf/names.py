"""The submission checkers' names of MLPerf's benchmarks, which are not LoadGen's."""

from collections.abc import Mapping

# "models" of both checkers' constants (mlcommons/inference, August 2026).
_LASTING = (
    *("resnet", "bert-99", "bert-99.9", "3d-unet-99", "3d-unet-99.9", "llama3.1-8b", "llama3.1-8b-edge"),
    *("llama2-70b-99", "llama2-70b-99.9", "stable-diffusion-xl", "rgat", "deepseek-r1", "whisper"),
    *("gpt-oss-120b", "wan-2.2-t2v-a14b", "qwen3-vl-235b-a22b", "dlrm-v3", "yolo-95", "yolo-99"),
)
OFFICIAL = {
    "v6.1": frozenset((*_LASTING, "qwen3.6-27b", "e2e-rag-qna", "e2e-rag-db")),
    "v6.0": frozenset((*_LASTING, "retinanet", "mixtral-8x7b", "llama3.1-405b", "pointpainting")),
}
"""Round -> the checkers' names of its benchmarks."""
# "model_mapping" there, of both rounds.
_SYNONYMS = {
    "ssd-resnet34": "retinanet",
    "mobilenet": "resnet",
    "resnet50": "resnet",
    "llama3_1-405b": "llama3.1-405b",
    "llama3_1-8b": "llama3.1-8b",
    "llama3_1-8b-edge": "llama3.1-8b-edge",
}


def official_name(round_name: str, folder: str, mapping: Mapping[str, str]) -> str:
    """Return the benchmark that the checkers find for a model's folder (Config.get_mlperf_model).

    A round's own name for a benchmark goes before what a submitter maps it to.
    """
    if folder in OFFICIAL[round_name]:
        return folder
    known = _SYNONYMS.get(folder) or mapping.get(folder)
    if known:
        return known
    folds = any(part in folder for part in ("mobilenet", "efficientnet", "resnet50"))
    return "resnet" if folds else folder
