"""Rules of the report that the style sheet of all pages does not have."""

REPORT_STYLE = """
:root { --c1: #2a78b8; --c2: #c8620f; --c3: #00866b; --c4: #9c4a93; --c5: #8a7300; --c6: #5b6675;
  --shade: 42, 120, 184; --mark-a: #d8e8f5; --mark-b: #fbe5cf; }
@media (prefers-color-scheme: dark) { :root { --c1: #5aa9e6; --c2: #f0a35e; --c3: #3fc9a6;
  --c4: #d897cf; --c5: #d9c24a; --c6: #9aa6b5; --shade: 106, 180, 238; --mark-a: #1f3e57;
  --mark-b: #54371b; } }
html { scroll-padding-top: 1rem; }
a { color: var(--link); }
main { padding-top: 0; }
header, nav { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1.5rem 0; }
header h1 { font-size: 1.6rem; line-height: 1.25; color: var(--ink); margin: 0; }
header p { margin: .3rem 0 0; color: var(--soft); }
nav { padding-top: 1rem; } nav ul { list-style: none; margin: 0; padding: .6rem 0;
  border: solid var(--line); border-width: 1px 0; display: flex; flex-wrap: wrap;
  gap: .1rem 1.2rem; } nav li { margin: 0; } nav a { display: inline-block; padding: .2rem 0; }
h2 { font-size: 1.35rem; margin: 3rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .7rem; }
h4 { font-size: 1rem; margin: 0; font-weight: 600; }
h5 { font-size: .9rem; margin: 0; font-weight: 600; } h5 .who { font-weight: 400; margin: 0; }
p { margin: .5rem 0; max-width: 46rem; }
.skip { position: absolute; left: -999rem; } .skip:focus { position: static; display: inline-block;
  padding: .5rem 1rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
.absent, .quiet-text { color: var(--soft); }
ul.stands-out { padding-left: 1.2rem; max-width: 52rem; }
.charts { gap: 2rem 2.5rem; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr));
  align-items: start; margin: .8rem 0 1.4rem; }
figure > svg { display: block; max-width: 33rem; margin-top: .4rem; }
figcaption { max-width: 33rem; } figcaption b { color: var(--ink); display: block; }
figure details { border: 0; max-width: 33rem; font-size: .9rem; }
.keys { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: .4rem 0 0; font-size: .85rem; }
.entry { display: inline-flex; align-items: center; gap: .4rem; }
svg.swatch { width: 22px; height: 14px; flex: none; }
svg .name { fill: var(--ink); }
svg .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .curve.faint { stroke-width: 1; opacity: .45; }
svg .c1 { stroke: var(--c1); } svg .c2 { stroke: var(--c2); stroke-dasharray: 7 3; }
svg .c3 { stroke: var(--c3); stroke-dasharray: 2 3; }
svg .c4 { stroke: var(--c4); stroke-dasharray: 10 3 2 3; }
svg .c5 { stroke: var(--c5); stroke-dasharray: 4 4; } svg .c6 { stroke: var(--c6); }
svg .dot { stroke: none; } svg .dot.c1 { fill: var(--c1); } svg .dot.c2 { fill: var(--c2); }
svg .dot.c3 { fill: var(--c3); } svg .dot.c4 { fill: var(--c4); } svg .dot.c5 { fill: var(--c5); }
svg .dot.c6 { fill: var(--c6); }
svg .span { stroke-width: 1.5; stroke-dasharray: none; opacity: .6; }
svg .band { fill: var(--c1); stroke: none; } svg .band.wide { opacity: .16; }
svg .band.narrow { opacity: .3; } svg line.bar { stroke: var(--c1); stroke-width: 6; }
svg line.bar.wide { opacity: .25; } svg line.bar.narrow { opacity: .5; }
svg .point { fill: var(--chosen); opacity: .55; }
svg .shade-1 { fill: rgba(var(--shade), .2); } svg .shade-2 { fill: rgba(var(--shade), .38); }
svg .shade-3 { fill: rgba(var(--shade), .58); } svg .shade-4 { fill: rgba(var(--shade), .78); }
svg .shade-5 { fill: rgb(var(--shade)); }
svg .equal { stroke: var(--ink); stroke-dasharray: 5 4; opacity: .7; }
svg .median { fill: none; stroke: var(--rejected); stroke-width: 2.5; }
svg .share { fill: var(--soft); opacity: .35; }
svg .ring { fill: none; stroke: var(--rejected); stroke-width: 2; }
svg.cell { width: 100%; min-width: 4rem; max-width: none; height: 20px; display: block; }
.scroll, main > section > table { margin: .6rem 0 1.2rem; }
table.sliced { margin: .4rem 0 1.2rem; table-layout: auto; max-width: 60rem; }
.sliced .name { text-align: left; white-space: normal; width: 34%; }
.ends { display: flex; justify-content: space-between; }
.sliced .plot { width: 34%; text-align: center; color: var(--soft); font-weight: 400; }
.sliced small { display: block; white-space: nowrap; }
.sliced th, .sliced td { vertical-align: middle; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .15rem 1.2rem;
  margin: .5rem 0; } dt { color: var(--soft); } dd { margin: 0; }
pre { background: var(--tint); padding: .8rem 1rem; overflow-x: auto; font-size: .85rem;
  line-height: 1.45; white-space: pre-wrap; }
.row { border-top: 1px solid var(--line); padding: .9rem 0 1.1rem; }
.row .numbers { color: var(--soft); font-size: .9rem; margin: .1rem 0 .6rem; max-width: none;
  font-variant-numeric: tabular-nums; }
.pair { display: grid; gap: 1rem 1.5rem; grid-template-columns: repeat(2, minmax(0, 1fr)); }
.answer { background: var(--tint); border-top: 3px solid; padding: .6rem .9rem .8rem; min-width: 0;
  border-radius: 0 0 .3rem .3rem; }
.answer.better { border-color: var(--chosen); } .answer.worse { border-color: var(--rejected); }
.said { white-space: pre-wrap; margin: .3rem 0 0; max-width: none; }
.who { color: var(--soft); font-size: .85rem; margin: .5rem 0 0; }
.prompt { border-left: 3px solid var(--line); padding: 0 0 0 .9rem; margin: 0 0 .9rem; }
.prompt[dir=rtl] { border: 0; }
mark { color: inherit; border-radius: .15rem; padding: 0 .05rem; text-decoration: underline 2px;
  text-underline-offset: .2em; text-decoration-skip-ink: none; }
.better mark { background: var(--mark-a); text-decoration-color: var(--chosen); }
.worse mark { background: var(--mark-b); text-decoration-color: var(--rejected); }
footer { max-width: 72rem; margin: 2rem auto 0; padding: 0 1.5rem 2.5rem; color: var(--soft); }
@media (max-width: 40rem) {
  main { padding: 0 1rem 1rem; } header, nav, footer { padding-left: 1rem; padding-right: 1rem; }
  header { padding-top: 1rem; } svg text { font-size: 14px; }
  .pair { grid-template-columns: minmax(0, 1fr); } th, td { padding: .3rem .35rem; }
  main > section > .sliced { table-layout: fixed; } .sliced .plot { width: 20%; }
  .sliced th, .sliced td small { white-space: normal; }
  .sliced thead th { font-size: .8rem; overflow-wrap: normal; }
  .sliced th, .sliced td { padding: .3rem .2rem; } svg.cell { min-width: 3rem; }
  dl { grid-template-columns: 1fr; }
  dd { margin: 0 0 .4rem; } }
@media print { details > summary { display: none; } .row, figure { break-inside: avoid; } }
"""
