"""The page results.md."""

from collections.abc import Sequence

from real_experiments.compare import FIGURES
from real_experiments.overview.beside import batch_norm_section, unseen_section, width_section
from real_experiments.overview.falling import falling_table, falling_words
from real_experiments.overview.forecasts import forecast_section
from real_experiments.overview.mobility import mobility_section
from real_experiments.pair_result import PairResult

__all__ = ["results_page"]

_RECIPE = (
    "We use the recipe of Ji, Lu, Zhang, Deng, Su, *An Unconstrained Layer-Peeled Perspective on Neural Collapse*, "
    "2022: learning rate 0.01, momentum 0.3, batches of 128, no weight decay. We do not know its epochs, schedule and "
    "augmentation. We chose a constant rate, standardised images and no augmentation. The tables give our widths and "
    "epochs. All metrics are measured on the training images in evaluation mode (running batch-norm statistics)."
)


def results_page(results: Sequence[PairResult], commands: Sequence[str], missing: Sequence[str]) -> str:
    """results.md. ``commands`` made the results. ``missing`` says why other networks have none, a line each."""
    parts = ["# Real networks compared with the model", _RECIPE]
    if results:
        parts.append(_settings(results))
    if commands:
        parts.append("These commands made the results:\n\n```\n" + "\n".join(commands) + "\n```")
    if missing:
        parts.append("\n".join(f"- {line}" for line in missing))
    if results:
        figures = sorted({(each.recipe.model, each.recipe.width) for each in results})
        parts += ["## Summary", *falling_words(results)]
        parts += ["\n\n".join(f"![{m}, width {w}](networks-{m}-w{w}.png)" for m, w in figures)]
        sections = {
            "How far each metric of the paper falls": [falling_table(results)],
            "Forecasts": forecast_section(results),
            "Speed of the features, and forecast errors": mobility_section(results),
            "Batch-norm statistics": batch_norm_section(results),
            "Images not used in training": unseen_section(results),
            "Wide networks": width_section(results),
            "Files of each network": [_links(results)],
        }
        for heading, paragraphs in sections.items():
            parts += [f"## {heading}", *paragraphs] if paragraphs else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _settings(results: Sequence[PairResult]) -> str:
    """How many images the networks of each width saw, and in which arithmetic."""
    lines = []
    for width in sorted({each.recipe.width for each in results}):
        recipes = [each.recipe for each in results if each.recipe.width == width]
        images = sorted({f"{r.subset:,} images" if r.subset else "all images" for r in recipes})
        arithmetic = sorted({"bfloat16 except for the last layer and the loss" if r.bf16 else r.dtype for r in recipes})
        lines.append(f"- Width {width}: {' or '.join(images)}, trained in {' or '.join(arithmetic)}.")
    return "\n".join(lines)


def _links(results: Sequence[PairResult]) -> str:
    lines = []
    for each in results:
        files = [f"[metrics]({each.name}/metrics.csv)", f"[numbers]({each.name}/comparison.json)"]
        if each.why_not_compared is None and each.recipe.seed == min(
            r.recipe.seed for r in results if r.pair == each.pair
        ):
            files += [f"[page]({each.name}/comparison.md)", f"[figure]({each.name}/{FIGURES['train_loss']})"]
        reason = f" – not compared: {each.why_not_compared}" if each.why_not_compared else ""
        lines.append(f"- {each.name}: {', '.join(files)}{reason}")
    return "\n".join(lines)
