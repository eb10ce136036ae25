"""The style sheet of the report: light, dark, narrow and printed."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2128; --quiet: #5b6572; --rule: #d5dae0; --faint: #e8ebef;
  --panel: #f6f7f9; --link: #0b5cad; --warn: #9a3d00; --published: #a9b1bb;
  --v0: #4269d0; --v1: #d9822b; --v2: #1f9e89; --v3: #c0392b;
  --v4: #8e5bc4; --v5: #7a6a00; --v6: #d4569b; --v7: #3b7d23;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e4e8ec; --quiet: #9aa5b1; --rule: #3a424c; --faint: #272d34;
    --panel: #1c2126; --link: #79b8ff; --warn: #ffab70; --published: #5c6671;
    --v0: #7b9bff; --v1: #f2a65a; --v2: #4cc9b0; --v3: #ff7b72;
    --v4: #b794f4; --v5: #d6c24a; --v6: #f48fc4; --v7: #8bc972;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--rule); padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .4rem; }
p, ul { margin: .4rem 0; }
ul { padding-left: 1.2rem; }
li { margin: .25rem 0; overflow-wrap: anywhere; }
a { color: var(--link); }
.quiet, figcaption, caption { color: var(--quiet); font-size: .875rem; }
.warn { color: var(--warn); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .2rem 0; }
th, td { padding: .35rem .75rem; border-bottom: 1px solid var(--faint); text-align: right;
  vertical-align: top; }
th { border-bottom-color: var(--rule); font-weight: 600; }
th:first-child, td:first-child, .words th, .words td { text-align: left; }
th:first-child, td:first-child { padding-left: 0; }
td:last-child { font-weight: 600; }
.wide td { white-space: nowrap; }
.wide th { overflow-wrap: break-word; }
.wide .text { white-space: normal; font-weight: 400; min-width: 8rem; }
.words td:last-child { font-weight: 400; }
.words td { overflow-wrap: anywhere; }
.words th { border-bottom-color: var(--faint); min-width: 9rem; }
.charts { display: grid; gap: 1.5rem; margin: 1rem 0 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.charts > figure.full { grid-column: 1 / -1; max-width: 34rem; }
figure { margin: 0; break-inside: avoid; }
figure h3 { margin-top: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--ink); font-family: inherit; }
svg text.quiet { fill: var(--quiet); font-size: 12px; }
svg .axis { stroke: var(--ink); }
svg .grid { stroke: var(--faint); }
svg .curve { fill: none; stroke-width: 2; }
svg .front { fill: none; stroke: var(--quiet); stroke-dasharray: 4 4; }
svg .whisker { stroke-width: 2; }
svg .interval { stroke: var(--ink); stroke-width: 1.5; }
svg .published { fill: var(--published); }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; margin: .5rem 0; list-style: none; }
.key span { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; margin-right: .4rem; }
@media (max-width: 40rem) {
  .wide th, .wide td { white-space: normal; padding: .3rem .2rem; font-size: .8rem; overflow-wrap: anywhere; }
  .wide .text { min-width: 0; }
  .words th { min-width: 6rem; font-size: .875rem; }
  .words td { font-size: .875rem; }
}
@media print {
  .charts { grid-template-columns: repeat(2, 1fr); }
  .charts > figure.full { max-width: 24rem; }
  .wide th, .wide td { white-space: normal; padding: .2rem .4rem; }
  .wide .text { min-width: 0; }
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  a { color: inherit; }
  .wide { overflow: visible; }
  h2, h3 { break-after: avoid; }
  tr { break-inside: avoid; }
}
@page { margin: 15mm; }
"""


def variant_rules(count: int) -> str:
    """Return the rules that colour the marks and keys of `count` variants."""
    rules = []
    for number in range(count):
        colour = f"var(--v{number})"
        rules.append(f"svg .v{number} {{ stroke: {colour}; }}")
        rules.append(f"svg .bar.v{number}, svg .dot.v{number} {{ fill: {colour}; stroke: none; }}")
        rules.append(f".key .v{number} {{ background: {colour}; }}")
        rules.append(
            f"svg .dot.hollow.v{number} {{ fill: var(--paper); stroke: {colour}; stroke-width: 2; }}"
        )
    return "\n".join(rules) + "\n"
