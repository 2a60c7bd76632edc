#!/usr/bin/env python3
"""Prints the changelog of a Debian package: `changelog.py CHANGELOG.md VERSION MAINTAINER`.

The newest section of the changelog that has an entry becomes that of VERSION, with the time of SOURCE_DATE_EPOCH.
"""

import email.utils
import os
import re
import sys
import textwrap


def entries(lines):
    """The entries of the newest section that has any, as (heading, text)."""
    heading, found = "", []
    for line in lines:
        if line.startswith("## "):
            if found:
                return found
        elif line.startswith("### "):
            heading = line[4:].strip()
        elif line.startswith("- "):
            found.append([heading, line[2:].strip()])
        elif line.startswith("  ") and found:
            found[-1][1] += " " + line.strip()
    return found


def main(path, version, maintainer):
    with open(path, encoding="utf-8") as changelog:
        found = entries(changelog.read().splitlines())
    if not found:
        sys.exit(f"error: {path}: no section has an entry ('- …')")
    print(f"stoked ({version}) unstable; urgency=medium")
    last = None
    for heading, text in found:
        print()
        if heading != last:
            print(f"  [ {heading} ]")
            last = heading
        # Marks of the source of a page are none here.
        text = re.sub(r"[`*]|\]\([^)]*\)", "", text.replace("[`", "`"))
        wrapped = textwrap.wrap(text, 74, break_long_words=False, break_on_hyphens=False)
        print("  * " + "\n    ".join(wrapped))
    when = email.utils.formatdate(int(os.environ["SOURCE_DATE_EPOCH"]))
    print(f"\n -- {maintainer}  {when.replace('-0000', '+0000')}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: changelog.py CHANGELOG.md VERSION MAINTAINER")
    main(*sys.argv[1:])
