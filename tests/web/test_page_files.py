"""The chat page without a browser: its modules tested in their own language, and its libraries' origin."""

from tests.web import node


@node.needs_node
def test_what_needs_no_browser_does_what_it_says():
    node.run("page.test.mjs")


@node.needs_node
@node.needs_packages
def test_the_modules_are_sound_and_the_libraries_are_the_published_ones():
    node.run("page-types.test.mjs")
