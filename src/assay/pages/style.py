"""The style sheet that all pages share: type, colours for light and dark, tables, figures.

Text stands out from its background by 4.5 to 1 or more in both schemes. Blue and orange, and the
palette of curves, can be told apart by those who see few colours; nothing is said by colour alone.
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #566171; --line: #d9dee5;
  --paper: #ffffff; --tint: #f4f6f8; --chosen: #2a78b8; --rejected: #d9822b; --yes: #1a7f45;
  --care: #9a5c00; --no: #b42318; --link: #1d5f97; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #343d49;
  --paper: #151a21; --tint: #1e252e; --chosen: #5aa9e6; --rejected: #f0a35e; --yes: #4ec583;
  --care: #e0a53a; --no: #f2776b; --link: #7dbbee; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.15rem; color: var(--soft); font-weight: 600; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
.verdict { border-left: .4rem solid; padding: .8rem 1.2rem; background: var(--tint); }
.verdict p { font-size: 1.35rem; font-weight: 650; margin: 0; }
.yes { border-color: var(--yes); } .care { border-color: var(--care); }
.no { border-color: var(--no); }
ol { padding-left: 1.4rem; } li { margin: .35rem 0; }
.mark { display: inline-block; min-width: 2.6rem; text-align: center; border-radius: .25rem;
  padding: 0 .35rem; margin-right: .4rem; font-size: .8rem; font-weight: 650; color: #fff; }
.mark.stops { background: var(--no); } .mark.care { background: var(--care); }
@media (prefers-color-scheme: dark) { .mark { color: #151a21; } }
.places, small, caption { color: var(--soft); } .places { font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th.left, td.left { text-align: left; white-space: pre-line; min-width: 9rem; }
tbody th { font-weight: 400; }
caption { text-align: left; padding-bottom: .3rem; }
.scroll caption span { display: block; position: sticky; left: 0;
  max-width: min(46rem, 100vw - 3rem); }
.charts { display: grid; gap: 1.2rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
figure { margin: 0; min-width: 0; } figcaption { color: var(--soft); font-size: .9rem; }
svg { width: 100%; height: auto; max-width: 46rem; }
svg text { fill: var(--soft); font-size: 12px; }
svg .grid { stroke: var(--line); } svg .half { stroke: var(--soft); }
svg .limit { stroke: var(--care); stroke-dasharray: 4 3; }
svg .chosen, .key.chosen { fill: var(--chosen); background: var(--chosen); }
svg .rejected, .key.rejected { fill: var(--rejected); background: var(--rejected); }
svg .bar { fill: var(--chosen); }
svg line.loud { stroke: var(--no); stroke-width: 2; } svg circle.loud { fill: var(--no); }
svg line.quiet { stroke: var(--chosen); stroke-width: 2; }
svg circle.quiet { fill: var(--chosen); }
.key { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 .8rem; }
details { border-bottom: 1px solid var(--line); padding: .45rem 0; }
summary { cursor: pointer; } summary b { margin-right: .5rem; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
"""
