"""The page of `report` in a real browser: Debian's chromium, which `.ci/run` installs."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

import mixexp
from mixexp import MixtureOfExpertsRegressor

CHROMIUM = shutil.which("chromium")

#: Width of a phone, in CSS pixels.
PHONE = 360

#: Looks at the page in a frame as wide as a phone, and writes down what it finds.
LOOK = """
<pre id="found"></pre>
<script>
addEventListener("load", () => {
  const inside = document.querySelector("iframe").contentDocument, root = inside.documentElement;
  const boxes = [...inside.querySelectorAll("body *")].filter(
    each => !each.parentElement.closest(".scroll, pre"));
  document.getElementById("found").textContent = JSON.stringify({
    width: [root.scrollWidth, root.clientWidth],
    beyond: boxes.filter(each => each.getBoundingClientRect().right > root.clientWidth + 0.5)
      .map(each => each.tagName),
    scrolling: [...inside.querySelectorAll(".scroll")]
      .filter(each => each.scrollWidth > each.clientWidth).length,
    sections: [...inside.querySelectorAll("main > section")].map(each => each.id),
    pictures: [...inside.images].map(each => each.complete && each.naturalWidth),
    seen: inside.body.innerText.includes("NAME"),
    paper: getComputedStyle(inside.body).backgroundColor,
  });
});
</script>
"""


@pytest.fixture(scope="module")
def page():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a" * 60, "<script>throw 1</script>"])
    y = np.abs(X.iloc[:, 0]) + 0.1 * rng.normal(size=60)
    model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(X, y)
    return mixexp.report(model, X, y, cv=2)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which .ci/run installs")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_on_a_phone(page, scheme, tmp_path):
    frame = f'<iframe srcdoc="{html.escape(page.html)}" style="width: {PHONE}px; height: 800px">'
    look = LOOK.replace("NAME", html.escape(page.title))
    path = tmp_path / "look.html"
    head = '<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,">'
    path.write_text(f"{head}{frame}</iframe>{look}", encoding="utf-8")
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
            *(f"--user-data-dir={tmp_path / 'profile'}", "--no-first-run", "--dump-dom"),
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout)[1]))
    assert found["beyond"] == []
    assert found["width"][0] <= found["width"][1] <= PHONE
    assert found["scrolling"] > 0  # wide tables do so in their own boxes
    assert found["sections"][0] == "model" and len(found["sections"]) == 11
    assert len(found["pictures"]) == 5 and min(found["pictures"]) > 500
    assert found["seen"]
    assert found["paper"] == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    assert "CONSOLE" not in done.stderr, done.stderr
