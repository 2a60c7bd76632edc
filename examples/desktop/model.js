// What a panel knows of stoked, over D-Bus alone. It draws nothing, so that a shell extension or another toolkit can use it.
//
// Every call is asynchronous: whoever waits for an answer on the thread that draws freezes the desktop. Nothing is asked
// again and again either: the daemon tells what has changed, once a second at most for each object.

import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

const NAME = 'io.stoked.Stoked1';
const ROOT = '/io/stoked/Stoked1';
const MANAGER = `${NAME}.Manager`;
const JOB = `${NAME}.Job`;
const GPU = `${NAME}.Gpu`;
const HOST = `${NAME}.Host`;
const PROPERTIES = 'org.freedesktop.DBus.Properties';
const OBJECTS = 'org.freedesktop.DBus.ObjectManager';

/// States of jobs that hold a place; all others but the final ones wait for one.
const HOLDING = ['Starting', 'Running', 'Paused', 'Stopping'];
const WAITING = ['Held', 'Queued', 'Backoff'];
const FINAL = ['completed', 'failed', 'timed_out', 'cancelled', 'skipped', 'lost'];

/// Changes that come together are told together.
const GATHER_MS = 50;
/// Jobs that ended are listed again no sooner than this after the last time.
const LIST_AGAIN_MS = 1000;
const MOST_ENDED = 4;
/// How often what is measured shall be told while somebody looks.
const METRICS_MS = 2000;

/// Text in which control characters and what turns the direction of reading can be seen instead of obeyed.
export function harmless(text) {
    // eslint-disable-next-line no-control-regex
    const harmful = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
    return String(text).replace(harmful, c => `\\u{${c.codePointAt(0).toString(16)}}`);
}

export class Stoked {
    /// `changed` is called when there is something new, without arguments.
    constructor(changed, busType = Gio.BusType.SESSION) {
        this._changed = changed;
        this._telling = 0;
        this._listing = 0;
        this._looks = false;
        this._forget();
        this._watch = Gio.bus_watch_name(busType, NAME, Gio.BusNameWatcherFlags.NONE,
            (bus, _name, owner) => this._appeared(bus, owner).catch(error => this._failed(error)),
            () => this._vanished());
    }

    /// Whether what is measured is of interest, as while a window is seen. Else nothing is measured for its sake.
    setLooking(looks) {
        this._looks = looks;
        this._lease().catch(error => this._failed(error));
    }

    /// Ends it.
    close() {
        Gio.bus_unwatch_name(this._watch);
        this._vanished();
        for (const source of [this._telling, this._listing].filter(id => id))
            GLib.source_remove(source);
        this._telling = this._listing = 0;
    }

    // === What can be read ===

    /// Jobs that hold a place, the newest first.
    get jobs() {
        const all = [...this._objects.values()].filter(it => it.kind === JOB && it.known.Name !== undefined);
        return all.map(({known}) => ({
            id: known.Id,
            name: harmless(known.Name),
            state: known.State,
            percent: known.ProgressValid ? known.Progress : null,
            secondsLeft: known.ExpectedEndUSec > 0 ? Math.max(0, known.ExpectedEndUSec / 1e6 - Date.now() / 1e3) : null,
            gpus: (known.Gpus ?? []).map(path => Number(path.split('/').pop())),
            cpuPercent: known.CpuPercent ?? null,
            memoryBytes: known.MemoryBytes ?? null,
        })).sort((a, b) => b.id - a.id);
    }

    /// GPUs by index; what one does not tell is null.
    get gpus() {
        const all = [...this._objects.values()].filter(it => it.kind === GPU);
        return all.map(({known}) => ({
            index: known.Index,
            name: harmless(known.Name ?? 'GPU'),
            health: known.Health ?? 'ok',
            utilPercent: known.UtilPercent ?? null,
            memoryUsed: known.MemoryUsed ?? null,
            memoryTotal: known.MemoryTotal ?? null,
            watts: known.PowerMilliwatt === undefined ? null : known.PowerMilliwatt / 1000,
            celsius: known.TempC ?? null,
        })).sort((a, b) => a.index - b.index);
    }

    /// The host, as far as it is measured.
    get host() {
        const known = this._objects.get(`${ROOT}/host`)?.known ?? {};
        return {
            cpuPercent: known.CpuPercent ?? null,
            memoryUsed: known.MemoryUsed ?? null,
            memoryTotal: known.MemoryTotal ?? null,
        };
    }

    /// How many jobs hold a place, and how many wait.
    get counts() {
        const sum = states => states.reduce((all, state) => all + (this._counts[`Jobs${state}`] ?? 0), 0);
        return {running: sum(HOLDING), waiting: sum(WAITING)};
    }

    // === The daemon comes and goes ===

    _forget() {
        this.isHere = false;
        /// `healthy`, `degraded` or `unhealthy`.
        this.health = null;
        this.version = null;
        /// The last jobs that ended: `{id, name, state}`.
        this.ended = [];
        this._objects = new Map();
        this._counts = {};
        this._leaseId = null;
        this._subscriptions = [];
        this._gone = new Gio.Cancellable();
    }

    async _appeared(bus, owner) {
        this._vanished();
        this._bus = bus;
        // The unique name: what a daemon before this one still said is not meant.
        this._owner = owner;
        const hear = (path, face, member, heard) => this._subscriptions.push(bus.signal_subscribe(
            owner, face, member, path, null, Gio.DBusSignalFlags.NONE,
            (_bus, _sender, from, _face, signal, args) => {
                heard(from, signal, args.recursiveUnpack());
                this._tell();
            }));
        hear(null, PROPERTIES, 'PropertiesChanged', (path, _signal, [face, values]) => this._told(path, face, values));
        hear(ROOT, OBJECTS, null, (_path, signal, [path, faces]) => this._membersChanged(signal, path, faces));
        hear(ROOT, MANAGER, null, (_path, signal, args) => this._happened(signal, args));
        const [counts, [objects]] = await Promise.all([
            this._read(ROOT, MANAGER),
            this._call(ROOT, OBJECTS, 'GetManagedObjects', null),
        ]);
        // What is signalled counts more than an answer, which may have been on its way already.
        this._counts = {...counts, ...this._counts};
        for (const [path, faces] of Object.entries(objects))
            this._membersChanged('InterfacesAdded', path, faces);
        this.isHere = true;
        this.version = harmless(counts.Version);
        this._listEnded();
        await this._lease();
        this._tell();
    }

    _vanished() {
        this._gone?.cancel();
        for (const subscription of this._subscriptions)
            this._bus.signal_unsubscribe(subscription);
        this._forget();
        this._tell();
    }

    // === What it says ===

    _told(path, face, values) {
        if (path === ROOT && face === MANAGER)
            Object.assign(this._counts, values);
        else if (this._objects.get(path)?.kind === face)
            Object.assign(this._objects.get(path).known, values);
    }

    _membersChanged(signal, path, faces) {
        if (signal === 'InterfacesRemoved') {
            this._objects.delete(path);
            return;
        }
        const kind = [JOB, GPU, HOST].find(it => it in faces);
        if (!kind)
            return;
        const object = {kind, known: {...this._objects.get(path)?.known, ...faces[kind]}};
        this._objects.set(path, object);
        // Names are in replies alone: signals can be heard by everybody on a bus.
        this._read(path, kind).then(known => {
            object.known = {...known, ...object.known};
            this._tell();
        }).catch(error => this._failed(error));
    }

    _happened(signal, args) {
        if (signal === 'JobRemoved' || signal === 'Overflow' || (signal === 'JobStateChanged' && FINAL.includes(args[2])))
            this._listEnded();
    }

    /// Lists what ended last, and asks how the daemon is; at once, or a while after it was done last.
    _listEnded() {
        this._listWanted = true;
        if (this._listing)
            return;
        this._listWanted = false;
        this._listing = GLib.timeout_add(GLib.PRIORITY_DEFAULT, LIST_AGAIN_MS, () => {
            this._listing = 0;
            if (this._listWanted && this.isHere)
                this._listEnded();
            return GLib.SOURCE_REMOVE;
        });
        const filter = {state: new GLib.Variant('as', FINAL)};
        const list = new GLib.Variant('(a{sv}su)', [filter, '', MOST_ENDED]);
        Promise.all([
            this._call(ROOT, MANAGER, 'ListJobs', list),
            this._call(ROOT, MANAGER, 'Summary', null),
        ]).then(([[jobs], [summary]]) => {
            this.ended = jobs.map(({id, name, state}) => ({id, name: harmless(name), state}));
            this.health = JSON.parse(summary).health;
            this._tell();
        }).catch(error => this._failed(error));
    }

    /// Asks to be told what is measured, or not any more. While that is under way the lease is `undefined`.
    async _lease() {
        if (!this.isHere || this._leaseId === undefined || this._looks === (this._leaseId !== null))
            return;
        const gone = this._gone;
        const lease = this._leaseId;
        this._leaseId = undefined;
        if (this._looks) {
            const options = {metrics_ms: new GLib.Variant('t', METRICS_MS)};
            const [granted] = await this._call(ROOT, MANAGER, 'Subscribe', new GLib.Variant('(a{sv})', [options]));
            this._leaseId = granted;
        } else {
            await this._call(ROOT, MANAGER, 'Unsubscribe', new GLib.Variant('(t)', [lease]));
            this._leaseId = null;
        }
        // Somebody may have looked away meanwhile.
        if (!gone.is_cancelled())
            await this._lease();
    }

    // === How it is asked ===

    async _read(path, face) {
        const [values] = await this._call(path, PROPERTIES, 'GetAll', new GLib.Variant('(s)', [face]));
        return values;
    }

    _call(path, face, method, args) {
        const gone = this._gone;
        return new Promise((resolve, reject) => this._bus.call(this._owner, path, face, method, args, null,
            Gio.DBusCallFlags.NO_AUTO_START, -1, gone, (bus, result) => {
                try {
                    const answer = bus.call_finish(result).recursiveUnpack();
                    // What was asked of a daemon that is gone is no answer of the one after it.
                    if (!gone.is_cancelled())
                        resolve(answer);
                } catch (error) {
                    reject(error);
                }
            }));
    }

    /// A job may end between a signal and a question about it, and a daemon may go: what is left is told anyway.
    _failed(error) {
        const expected = [
            [Gio.IOErrorEnum, Gio.IOErrorEnum.CANCELLED],
            [Gio.DBusError, Gio.DBusError.NAME_HAS_NO_OWNER],
            [Gio.DBusError, Gio.DBusError.NO_REPLY],
            [Gio.DBusError, Gio.DBusError.SERVICE_UNKNOWN],
            [Gio.DBusError, Gio.DBusError.UNKNOWN_INTERFACE],
            [Gio.DBusError, Gio.DBusError.UNKNOWN_OBJECT],
        ];
        if (!expected.some(([domain, code]) => error instanceof GLib.Error && error.matches(domain, code)))
            logError(error, 'stoked');
    }

    _tell() {
        if (this._telling)
            return;
        this._telling = GLib.timeout_add(GLib.PRIORITY_DEFAULT, GATHER_MS, () => {
            this._telling = 0;
            this._changed();
            return GLib.SOURCE_REMOVE;
        });
    }
}
