r"""LaTeX in JSON: commands whose backslash a model did not double, so that JSON reads it as an escape.

`"\frac"` is valid JSON, for a form feed and "rac"; `"\alpha"` is no JSON at all.
"""

from __future__ import annotations

import re

# No text goes on like this behind a backspace, a form feed, a line break or a tab, so each of these is a command.
_ESCAPES = (
    "backslash bar because begin beta beth between bf big bigcap bigcup bigg bigl bigoplus bigr binom bm bmod "
    "boldsymbol bot bowtie box boxed breve bullet fbox flat footnote forall frac frown nabla natural ncong "
    "nearrow newcommand newline neq ngeq nleq nmid nolimits nonumber normalsize not notin nparallel nrightarrow "
    "nsim nsubseteq nwarrow rangle rbrace rbrack rceil ref rfloor rho right rightarrow rightharpoonup "
    "rightleftharpoons rm rtimes rule rvert tbinom tfrac therefore theta thickapprox thicksim thinspace tilde "
    "times triangle triangleleft triangleright"
)
_WITH_BRACE = "text textbf textit textrm textsf texttt textnormal"
# With these, words of a text may begin: `\ne` is also a line break before "e". They count beside other LaTeX only.
_DOUBTFUL = "ne neg nexists ngtr ni nless nu tag tan tanh tau tiny to top tt"
# What JSON has no escape for. Any other word stays as it is, such as C:\Users or the pattern \d: then the text is no
# JSON, and the request is asked again.
_OTHERS = (
    "Alpha Bar Beta Big Bigg Delta Gamma Lambda Large Leftarrow Leftrightarrow Omega Phi Pi Psi Re Rightarrow "
    "Sigma Theta Upsilon Vert Xi acute aleph alpha angle approx arccos arcsin arctan arg ast asymp cap cdot cdots "
    "centerdot chi circ clubsuit cong cos cosh cot coth csc cup dagger dbinom ddot ddots deg delta det dfrac "
    "diamond dim displaystyle div dot dots ell emptyset end epsilon equiv eta exists exp gamma gcd ge geq gg hat "
    "hbar hline hspace iff iiint iint imath in inf infty int iota item kappa ker label lambda langle lbrace "
    "lbrack lceil ldots le left leftarrow leftrightarrow leq lfloor lg lim liminf limits limsup ll ln log "
    "longrightarrow lor land lvert mapsto mathbb mathbf mathcal mathfrak mathit mathrm mathsf max mid min mp mu "
    "odot oint omega operatorname oplus otimes over overbrace overline overrightarrow parallel partial perp phi "
    "pi pm prec prime prod propto psi qquad quad sec section setminus sigma sim simeq sin sinh sqrt square star "
    "subset subseteq sum sup supset supseteq underbrace underline upsilon varepsilon varnothing varphi vartheta "
    "vdots vec vee vert vspace wedge widehat widetilde xi xrightarrow zeta"
)
_CERTAIN = frozenset(f"{_ESCAPES} {_OTHERS}".split())
_BRACED = frozenset(_WITH_BRACE.split())
_BESIDE_OTHERS = frozenset([*_DOUBTFUL.split(), *"{},;:!%$&#_|^ "])
# Around a formula.
_MATH = frozenset("()[]")
_BACKSLASH = re.compile(r"\\(?:(u[0-9a-fA-F]{4})|([a-zA-Z]+)|(.))", re.DOTALL)


def _by_first_letter(letter: str) -> str:
    """A pattern of the commands that begin with an escape of JSON; it leaves any other escape at once."""
    words = f"{_ESCAPES} {_WITH_BRACE} {_DOUBTFUL}".split()
    return f"{letter}(?:{'|'.join(word[1:] for word in words if word.startswith(letter))})"


# In valid JSON only these matter: few texts have one, and only they are looked at more closely.
_HINT = re.compile(rf"\\(?:{'|'.join(map(_by_first_letter, 'bfnrt'))})(?![a-zA-Z])")
_FORMULA = re.compile(r"(?<![\w\\])\$(?=[^\s\d$])[^$\"]*[^\s$]\$")


def may_hold_latex(text: str) -> bool:
    """Whether valid JSON may hold a LaTeX command that it reads as an escape; False for most texts, at little cost."""
    return "\\" in text and _HINT.search(text) is not None


def with_latex(text: str) -> str:
    r"""Double the backslash of each LaTeX command in a JSON text, unless it is doubled already.

    Commands such as `\to`, which may as well be a tab before "o", count only beside other LaTeX or in `$…$`.
    """
    if "\\" not in text:
        return text
    is_latex = any(map(_is_certain, _BACKSLASH.finditer(text))) or _FORMULA.search(text) is not None
    return _BACKSLASH.sub(lambda found: _doubled(found, is_latex=is_latex), text)


def _doubled(found: re.Match[str], *, is_latex: bool) -> str:
    is_command = _is_certain(found) or (is_latex and (found[2] or found[3]) in _BESIDE_OTHERS)
    return f"\\{found[0]}" if is_command else found[0]


def _is_certain(found: re.Match[str]) -> bool:
    if found[2] in _BRACED:
        return found.string.startswith("{", found.end())
    return found[2] in _CERTAIN or found[3] in _MATH
