"""Compares the interfaces of a running daemon with their shipped description, as what they say and not as text."""

import sys
import xml.etree.ElementTree as ET

from gi.repository import Gio, GLib

NAME, ROOT = "io.stoked.Stoked1", "/io/stoked/Stoked1"
DOC = "org.gtk.GDBus.DocString"


def members(interface):
    """All that an interface has, but what explains it to people."""
    found = set()
    for member in interface:
        parts = [member.tag, *sorted(member.attrib.items())]
        for part in member:
            if part.get("name") != DOC and (part.tag, part.get("value")) != ("annotation", "true"):
                # The direction of what a signal carries goes without saying.
                parts.append((part.tag, *sorted(it for it in part.attrib.items() if it != ("direction", "out") or member.tag == "method")))
        if member.get("name") != DOC:
            found.add(repr(parts))
    return found


def interfaces(root):
    named = {it.get("name"): it for it in root.findall("interface")}
    return {name: members(it) for name, it in named.items() if name.startswith(NAME)}


bus = Gio.bus_get_sync(Gio.BusType.SESSION)
call = lambda path, interface, method, arguments, kind: bus.call_sync(
    NAME, path, interface, method, arguments, GLib.VariantType(kind), 0, -1
).unpack()
job = call(ROOT, NAME + ".Manager", "GetJob", GLib.Variant("(u)", (int(sys.argv[2]),)), "(o)")[0]
loop = GLib.MainLoop()
gpus = []


def look(*_):
    managed = call(ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", None, "(a{oa{sa{sv}}})")[0]
    gpus.extend(path for path in managed if path.startswith(ROOT + "/gpu/"))
    if gpus:
        loop.quit()


# A GPU takes a moment to be found after the daemon has started.
bus.signal_subscribe(NAME, "org.freedesktop.DBus.ObjectManager", "InterfacesAdded", ROOT, None, 0, look)
look()
if not gpus:
    GLib.timeout_add_seconds(60, loop.quit)
    loop.run()

running = {}
for path in [ROOT, job, ROOT + "/host", *gpus[:1]]:
    text = call(path, "org.freedesktop.DBus.Introspectable", "Introspect", None, "(s)")[0]
    running.update(interfaces(ET.fromstring(text.strip())))
shipped = interfaces(ET.parse(sys.argv[1]).getroot())
for name in sorted(set(running) | set(shipped)):
    here, there = running.get(name, set()), shipped.get(name, set())
    for member in sorted(here ^ there):
        print(name, "runs, but is not shipped:" if member in here else "is shipped, but does not run:", member)
if running == shipped:
    print("the same:", *sorted(name.rsplit(".", 1)[1] for name in running))
