// What a widget in JavaScript does: a proxy that keeps properties, and hears signals.

const {Gio, GLib} = imports.gi;

const loop = GLib.MainLoop.new(null, false);
const manager = Gio.DBusProxy.new_for_bus_sync(
    Gio.BusType.SESSION, 0, null, 'io.stoked.Stoked1', '/io/stoked/Stoked1', 'io.stoked.Stoked1.Manager', null);
let job = 0;

manager.connect('g-signal', (_proxy, _sender, name, args) => {
    const told = args.recursiveUnpack();
    print(name, told);
    if (name === 'JobStateChanged' && told[2] === 'cancelled')
        loop.quit();
});
manager.connect('g-properties-changed', (_proxy, changed) => {
    print('held is', manager.get_cached_property('JobsHeld').unpack());
    if (changed.recursiveUnpack().JobsHeld === 1)
        manager.call_sync('Cancel', new GLib.Variant('(u)', [job]), 0, -1, null);
});
const spec = {command: new GLib.Variant('as', ['true']), hold: new GLib.Variant('b', true)};
job = manager.call_sync('Submit', new GLib.Variant('(a{sv})', [spec]), 0, -1, null).recursiveUnpack()[0];
GLib.timeout_add_seconds(GLib.PRIORITY_DEFAULT, 60, () => loop.quit());
loop.run();
