"""How a report's page looks: by day and by night, on a phone and on paper.

Colours were chosen to be told apart by people who do not see all of them: neighbours differ in lightness
too, and no figure is told by a colour alone.
"""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{--page:#f5f6f8;--card:#fff;--ink:#1a2029;--soft:#596273;--line:#dfe3ea;--track:#e8ebf0;
--s1:#2457c5;--s2:#e08a00;--s3:#0e8f7e;--s4:#b0408f;--s5:#7d9cf0;--s6:#8a93a3;--over:#c62828}
@media (prefers-color-scheme:dark){:root{--page:#11151b;--card:#1a2029;--ink:#e9edf3;--soft:#9ba6b7;
--line:#2d3542;--track:#2a323e;--s1:#6f9bff;--s2:#f2ac3c;--s3:#3fc4b0;--s4:#e58ac9;--s5:#3f5fae;
--s6:#76808f;--over:#ff6b6b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
header,main,footer{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding-top:40px}
.brand{margin:0;color:var(--soft);font-weight:600;letter-spacing:.02em}
h1{margin:0;font-size:2rem;line-height:1.2;letter-spacing:-.02em}
.period{margin:4px 0 24px;color:var(--soft)}
h2{margin:40px 0 12px;font-size:1.2rem;letter-spacing:-.01em}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin:0 0 12px}
.tiles>div,.card{background:var(--card);border:1px solid var(--line);border-radius:10px}
.tiles>div{padding:14px 16px}
.tiles dt{color:var(--soft);font-size:.85rem}
.tiles dd{margin:0}
.tiles strong{display:block;font-size:1.35rem;line-height:1.3;font-weight:650;letter-spacing:-.02em;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tiles span{display:block;color:var(--soft);font-size:.8rem;line-height:1.4;overflow-wrap:anywhere}
.card{padding:18px}
.slim{padding:16px 18px 12px}
.beside{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:28px;align-items:start}
figure{margin:0;min-width:0}
.basis,.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 12px;padding:0;list-style:none;
font-size:.85rem;color:var(--soft)}
.basis{margin:8px 0 0}
.basis b{color:var(--ink);font-weight:600;font-variant-numeric:tabular-nums}
.legend li{overflow-wrap:anywhere;min-width:0}
.key{display:inline-block;width:.7em;height:.7em;margin-right:.45em;border-radius:2px;
border:1px solid transparent}
.plot{display:flex;padding-top:8px}
.y{position:relative;flex:none;height:200px;color:var(--soft);font-size:.75rem}
.y span{position:absolute;right:8px;transform:translateY(-50%);font-variant-numeric:tabular-nums}
.plot>div:last-child{flex:1;min-width:0}
.x{position:relative;height:24px;color:var(--soft);font-size:.75rem}
.x span{position:absolute;top:4px;transform:translateX(-50%);white-space:nowrap}
.x .first{left:0!important;transform:none}
.x .last{left:auto!important;right:0;transform:none}
svg{display:block}
.grid{stroke:var(--line);stroke-width:1}
.columns g:hover rect{opacity:.75}
.bar{border-radius:3px;background:var(--track);min-width:80px}
.c1{fill:var(--s1)}.c2{fill:var(--s2)}.c3{fill:var(--s3)}.c4{fill:var(--s4)}.c5{fill:var(--s5)}
.c6{fill:var(--s6)}.cchildren{fill:var(--s5)}.cmeasured{fill:var(--s1)}.cestimated{fill:var(--s2)}
.creserved{fill:var(--s4)}.cspent{fill:var(--s1)}.cheld{fill:var(--s2)}.cleft{fill:var(--track)}
.cover{fill:var(--over)}
.k1{background:var(--s1)}.k2{background:var(--s2)}.k3{background:var(--s3)}.k4{background:var(--s4)}
.k5{background:var(--s5)}.k6{background:var(--s6)}.kchildren{background:var(--s5)}
.kmeasured{background:var(--s1)}.kestimated{background:var(--s2)}.kreserved{background:var(--s4)}
.kspent{background:var(--s1)}.kheld{background:var(--s2)}
.kleft{background:var(--track);border-color:var(--soft)}
.scroll{overflow:auto;max-width:100%}
.tall{max-height:262px}
.scroll:focus-visible{outline:2px solid var(--s1);outline-offset:3px;border-radius:4px}
table{width:100%;border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
caption,.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);
white-space:nowrap}
th,td{padding:6px 14px 6px 0;border-bottom:1px solid var(--line);text-align:left;font-weight:400;
vertical-align:middle;white-space:nowrap}
th:last-child,td:last-child{padding-right:2px}
tr:last-child>*{border-bottom:0}
thead th{position:sticky;top:0;z-index:1;background:var(--card);color:var(--soft);font-size:.78rem;
border-bottom:1px solid var(--line)!important}
.right{text-align:right}
.bars{width:44%;min-width:90px}
tbody th{max-width:280px}
.name{display:block;max-width:280px;overflow-wrap:anywhere;white-space:normal;min-width:90px}
small{display:block;color:var(--soft);font-size:.78rem;line-height:1.25}
code{font:.95em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.note,.nothing{margin:0 0 10px;color:var(--soft);font-size:.9rem}
footer{padding-top:36px;padding-bottom:48px;color:var(--soft);font-size:.85rem}
@media (max-width:760px){header,main,footer{padding-left:14px;padding-right:14px}header{padding-top:24px}
h1{font-size:1.6rem}.tiles{grid-template-columns:1fr 1fr}
.beside{grid-template-columns:minmax(0,1fr);gap:16px}.card{padding:14px}.bars{width:24%}
.x span:nth-child(2n){display:none}.x .last,.x .first{display:inline!important}
.name{max-width:150px}}
@media print{:root{--page:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--track:#eee;
--s1:#2457c5;--s2:#e08a00;--s3:#0e8f7e;--s4:#b0408f;--s5:#7d9cf0;--s6:#8a93a3;--over:#c62828}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}body{font-size:11pt}
.tall{max-height:none}.scroll{overflow:visible}.card{border:0;padding:0}h2{margin-top:24px}
h2{break-after:avoid}tr,figure,.tiles>div{break-inside:avoid}thead th{position:static}
.beside{grid-template-columns:minmax(0,1fr)}th,td{padding-top:2px;padding-bottom:2px}
.tiles{grid-template-columns:repeat(3,1fr)}}
"""
