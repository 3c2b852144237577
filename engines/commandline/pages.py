"""HTML pages from Jinja2 templates in `templates`, beside the code that fills them.

Values are escaped, because names of parts and models come from elsewhere. It is an error if a
template uses a value that it is not given.
"""

from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

_SHARED = "engines.commandline"  # holds page.html, which the others extend


def render_page(package: str, template: str, **values: object) -> bytes:
    """Fill a template of a package, `engines.commandline` for one; UTF-8."""
    return _environment(package).get_template(template).render(values).encode()


@cache
def _environment(package: str) -> Environment:
    loader = ChoiceLoader([PackageLoader(package), PackageLoader(_SHARED)])
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
