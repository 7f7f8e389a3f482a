"""What the page is dressed in: one style, one script, one icon; nothing is loaded from anywhere else."""

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b6e8f"/>'
    '<path d="M5 16c4-7 12-8 17-3l5-4v14l-5-4c-5 5-13 4-17-3z" fill="#fff"/>'
    '<path d="M12 11v10M16 10v12" stroke="#0b6e8f" stroke-width="2"/>'
    '<circle cx="9" cy="15" r="1.2" fill="#0b6e8f"/></svg>'
)

STYLE = """
:root{color-scheme:light dark;--bg:#f5f7f8;--card:#fff;--ink:#16222a;--soft:#5b6b75;--line:#dfe5e8;--accent:#0b6e8f;
--good:#1b7f4b;--info:#2b6cb0;--warn:#b26a00;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--bg:#10171b;--card:#182228;--ink:#e6edf0;--soft:#9db0ba;--line:#2a3941;
--accent:#5bb8d6;--good:#56c98a;--info:#7fb2ec;--warn:#f0b24a;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
header,main,footer{max-width:62rem;margin:0 auto;padding:0 1.2rem}
header{display:flex;align-items:center;gap:.7rem;padding-top:1.2rem}
header svg{width:2rem;height:2rem;flex:none}
header b{font-size:1.1rem}header span{color:var(--soft)}header .at{margin-left:auto;font-size:.85rem}
section{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem 1.2rem;margin:1rem 0}
h1{font-size:1.5rem;line-height:1.25;margin:0}h2{font-size:1rem;margin:0 0 .6rem}
p{margin:.4rem 0}.soft{color:var(--soft)}
.verdict{border-left:.45rem solid var(--soft)}
.verdict.good{border-left-color:var(--good)}.verdict.info{border-left-color:var(--info)}
.verdict.warning{border-left-color:var(--warn)}.verdict.critical{border-left-color:var(--bad)}
.tag{display:inline-block;padding:0 .5rem;border-radius:1rem;border:1px solid currentColor;font-size:.8rem}
.tag.none,.tag.good{color:var(--good)}.tag.info{color:var(--info)}
.tag.warning{color:var(--warn)}.tag.critical{color:var(--bad)}
ul{list-style:none;margin:0;padding:0}li+li{border-top:1px solid var(--line);margin-top:.7rem;padding-top:.7rem}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.8rem;margin:0}
dt{color:var(--soft);font-size:.8rem}dd{margin:0;font-size:1.15rem;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{font-weight:500;color:var(--soft);text-align:left;font-size:.85rem}
td,th{padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);overflow-wrap:break-word;min-width:4rem}
tr:last-child td{border-bottom:0}.num{text-align:right;white-space:nowrap}
meter{width:100%;min-width:5rem;height:.9rem}code{font-size:.9em}
a{color:var(--accent)}summary{cursor:pointer}footer{color:var(--soft);font-size:.85rem;padding-bottom:2rem}
footer a{margin-right:1rem}.wide{overflow-x:auto}#lost{color:var(--bad)}
"""

SCRIPT = """
const seconds = 5000;
async function again() {
  try {
    const answer = await fetch("/", {cache: "no-store"});
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = new Set([...document.querySelectorAll("details[open]")].map(d => d.id));
    for (const part of ["header", "main", "footer"])
      document.querySelector(part).replaceWith(fresh.querySelector(part));
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    document.title = fresh.title;
  } catch {
    const lost = document.getElementById("lost");
    if (lost && !lost.textContent)
      lost.textContent = "The agent has not answered since " + new Date().toLocaleTimeString() + ".";
  }
  setTimeout(again, seconds);
}
setTimeout(again, seconds);
"""
