"""Runs the tests of the chat page's modules and files in Node."""

from tests.web import node


@node.needs_node
def test_the_modules_that_need_no_browser_work():
    node.run("page.test.mjs")


@node.needs_node
@node.needs_packages
def test_the_types_are_correct_and_the_libraries_are_unchanged():
    node.run("page-types.test.mjs")
