#!/usr/bin/env python3
"""Prints io.stoked.Stoked1(5), made from introspection files: `dbus.py FILE.xml…`, interfaces in the order of the files.

What is said of an interface, a method, a signal or a property stands in a comment before it or as the first thing in
it, in a documentation element, or in an annotation `org.gtk.GDBus.DocString`.
"""

import re
import sys
import textwrap
import xml.etree.ElementTree as ElementTree

DOC = "{http://www.freedesktop.org/dbus/1.0/doc.dtd}doc"
DOC_ANNOTATION = "org.gtk.GDBus.DocString"
STANDARD = "org.freedesktop.DBus."

HEAD = """\
.Dd December 1, 2026
.Dt IO.STOKED.STOKED1 5
.Os stoked
.Sh NAME
.Nm io.stoked.Stoked1
.Nd D-Bus interfaces of stoked
.Sh DESCRIPTION
.Xr stoked 8
has the name
.Ql io.stoked.Stoked1
on the system bus as the daemon of a host, and on the session bus as that of a user, with the same interfaces, from the
object
.Pa /io/stoked/Stoked1
on.
The files that this page is made from are in
.Pa /usr/share/dbus-1/interfaces .
"""

TAIL = """\
.Sh SEE ALSO
.Xr busctl 1 ,
.Xr stoke 1 ,
.Xr stoked-api 7 ,
.Xr stoked 8
"""


def text(words):
    """Text, as lines of which the formatter takes nothing for a request of its own; a sentence begins a line."""
    words = " ".join(words.replace("`", "").split()).replace("\\", "\\e")
    lines = []
    for sentence in re.split(r"(?<=[.!?]) ", words):
        lines += textwrap.wrap(sentence, 78, break_on_hyphens=False, break_long_words=False)
    return [re.sub(r"^([.'])", r"\\&\1", line) for line in lines]


def argument(word):
    """An argument of a macro."""
    return '"' + word.replace("\\", "\\e").replace('"', "\\(dq").replace("-", "\\-") + '"'


def is_comment(element):
    return element.tag is ElementTree.Comment


def said(element, before):
    """What is said of an element, as lines; nothing where nothing is."""
    annotation = element.find(f"annotation[@name='{DOC_ANNOTATION}']")
    doc = element.find(DOC)
    inside = next(iter(element), None)
    if annotation is not None:
        return text(annotation.get("value", ""))
    if doc is not None:
        return text(" ".join(doc.itertext()))
    if before is not None:
        return text(before.text or "")
    if inside is not None and is_comment(inside):
        return text(inside.text or "")
    return []


def with_comments(parent):
    """The children that are no comments, each with the comment that stands before it.

    The first comment of a parent that has none before it may be the parent's; then it is no child's.
    """
    before = None
    for child in parent:
        if is_comment(child):
            before = child
        else:
            yield child, before
            before = None


def arguments(element, direction):
    default = "in" if element.tag == "method" else "out"
    chosen = [arg for arg in element.findall("arg") if arg.get("direction", default) == direction]
    return ", ".join(f"{arg.get('type')} {arg.get('name', '')}".strip() for arg in chosen)


def signature(member):
    if member.tag == "property":
        access = {"read": "read only", "write": "write only"}.get(member.get("access"), "read and write")
        return f"{member.get('name')}: {member.get('type')}, {access}"
    if member.tag == "signal":
        return f"{member.get('name')}({arguments(member, 'out')})"
    answer = arguments(member, "out")
    return f"{member.get('name')}({arguments(member, 'in')})" + (f" -> {answer}" if answer else "")


def interface_page(interface, before):
    lines = [f".Ss {interface.get('name')}"]
    lines += said(interface, before)
    members = list(with_comments(interface))
    # A comment that was said of the interface is not said of its first member again.
    if before is None and members and next(iter(interface), None) is members[0][1]:
        members[0] = (members[0][0], None)
    for tag, title in (("method", "Methods"), ("signal", "Signals"), ("property", "Properties")):
        chosen = [(member, comment) for member, comment in members if member.tag == tag]
        if not chosen:
            continue
        lines += [".Pp", f"{title}:", ".Bl -tag -width Ds"]
        for member, comment in chosen:
            lines.append(f".It Ic {argument(signature(member))}")
            lines += said(member, comment)
        lines.append(".El")
    return lines


def main(paths):
    if not paths:
        sys.exit("usage: dbus.py FILE.xml…")
    remarks, found = [], {}
    for path in paths:
        parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
        try:
            with open(path, encoding="utf-8") as file:
                whole = file.read()
            root = ElementTree.fromstring(whole, parser)
        except (OSError, ValueError, ElementTree.ParseError) as wrong:
            sys.exit(f"error: {path}: {wrong}")
        # What stands before everything is no part of the tree.
        remark = re.search(r"<!--((?:(?!-->).)*)-->\s*<node", whole, re.DOTALL)
        if remark:
            remarks += [".Pp", *text(remark[1])]
        for node in [root, *root.iter("node")]:
            for child, before in with_comments(node):
                name = child.get("name", "")
                if child.tag == "interface" and not name.startswith(STANDARD):
                    found.setdefault(name, interface_page(child, before))
    if not found:
        sys.exit(f"error: {', '.join(paths)}: there is no interface in it")
    pages = [line for page in found.values() for line in page]
    sys.stdout.write(HEAD + "\n".join([*remarks, ".Sh INTERFACES", *pages]) + "\n" + TAIL)


if __name__ == "__main__":
    main(sys.argv[1:])
