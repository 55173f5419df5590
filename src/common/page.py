"""HTML pages from Jinja templates: one head and one style sheet for all of them (page.html)."""

from typing import Any

import jinja2

from src.common.files import PROJECT


def render_template(name: str, **variables: Any) -> str:
    """Render a Jinja template of the project, with HTML escaping.

    Args:
        name: Path of the template below src/, for example `sweeps/html_report.html`.
        **variables: Variables of the template, by name.

    Returns:
        The rendered text.

    Raises:
        jinja2.UndefinedError: The template uses a variable that was not given.
        jinja2.TemplateNotFound: There is no such template.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PROJECT / "src"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name).render(variables)
