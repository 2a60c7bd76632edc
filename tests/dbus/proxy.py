"""What a widget in Python does: a proxy that keeps properties, and hears signals."""

from gi.repository import Gio, GLib

loop = GLib.MainLoop()
manager = Gio.DBusProxy.new_for_bus_sync(
    Gio.BusType.SESSION, 0, None, "io.stoked.Stoked1", "/io/stoked/Stoked1", "io.stoked.Stoked1.Manager", None
)


def heard(_proxy, _sender, name, arguments):
    print(name, arguments.unpack())
    if name == "JobStateChanged" and arguments.unpack()[2] == "cancelled":
        loop.quit()


def changed(_proxy, properties, _invalidated):
    held = manager.get_cached_property("JobsHeld")
    print("held is", held.unpack())
    if properties.unpack().get("JobsHeld") == 1:
        manager.call_sync("Cancel", GLib.Variant("(u)", (job,)), 0, -1, None)


manager.connect("g-signal", heard)
manager.connect("g-properties-changed", changed)
spec = {"command": GLib.Variant("as", ["true"]), "hold": GLib.Variant("b", True)}
job = manager.call_sync("Submit", GLib.Variant("(a{sv})", (spec,)), 0, -1, None).unpack()[0]
GLib.timeout_add_seconds(60, loop.quit)
loop.run()
