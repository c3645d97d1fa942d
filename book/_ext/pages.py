"""Leaves the state of live widgets off the pages, where the demos' HTML serves."""


def drop_widget_state(app, pagename, templatename, context, doctree):
    """Take the scripts that hold widget states from a page."""
    state = {"type": "application/vnd.jupyter.widget-state+json"}.items()
    scripts = context["script_files"]
    scripts[:] = [s for s in scripts if not state <= s.attributes.items()]


def setup(app):
    """Connect to Sphinx, after myst-nb has added its scripts to the page."""
    app.connect("html-page-context", drop_widget_state, priority=900)
    return {"parallel_read_safe": True}
