#!/usr/bin/env -S gjs -m
// A panel of stoked for any desktop: what runs and how far it is, the GPUs, and how the daemon is.
//
//     ./panel.js            of your own daemon
//     ./panel.js --system   of the system's
//
// It needs GJS and GTK 4 (Debian: gjs, gir1.2-gtk-4.0). What it shows comes from model.js; here it is only drawn. Texts of
// others are set as text, never as markup.

import Gdk from 'gi://Gdk?version=4.0';
import Gio from 'gi://Gio';
import GLib from 'gi://GLib';
import Gtk from 'gi://Gtk?version=4.0';
import Pango from 'gi://Pango';
import system from 'system';
import {Stoked} from './model.js';

const WIDTH = 420;
const MOST_JOBS = 8;

// === Words ===

const GLYPHS = {
    running: '●', starting: '◔', paused: '‖', stopping: '◒',
    completed: '✔', failed: '✘', timed_out: '✘', cancelled: '⊘', skipped: '↷', lost: '?',
};

function duration(seconds) {
    if (seconds < 60)
        return `${Math.ceil(seconds)} s`;
    if (seconds < 3600)
        return `${Math.round(seconds / 60)} min`;
    const minutes = Math.round(seconds / 60);
    return seconds < 86400 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.round(seconds / 86400)} d`;
}

function bytes(count) {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    const power = count > 0 ? Math.min(units.length - 1, Math.floor(Math.log2(count) / 10)) : 0;
    const value = count / 1024 ** power;
    return `${value >= 100 || power === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[power]}`;
}

/// `18.0 of 80.0 GiB`, as both have one unit mostly.
function part(used, total) {
    const [value, unit] = bytes(used).split(' ');
    const whole = bytes(total);
    return whole.endsWith(` ${unit}`) ? `${value} of ${whole}` : `${bytes(used)} of ${whole}`;
}

const joined = facts => facts.filter(fact => fact).join('  ·  ');

function jobFacts(job) {
    return joined([
        job.state !== 'running' && job.state,
        job.secondsLeft !== null && `${duration(job.secondsLeft)} left`,
        job.gpus.length > 0 && `GPU ${job.gpus.join(', ')}`,
        job.cpuPercent !== null && `CPU ${job.cpuPercent.toFixed(0)} %`,
        job.memoryBytes !== null && bytes(job.memoryBytes),
    ]);
}

function gpuFacts(gpu) {
    return joined([
        gpu.health !== 'ok' && gpu.health,
        gpu.memoryUsed !== null && gpu.memoryTotal !== null && part(gpu.memoryUsed, gpu.memoryTotal),
        gpu.watts !== null && `${gpu.watts.toFixed(0)} W`,
        gpu.celsius !== null && `${gpu.celsius} °C`,
    ]);
}

// === Pieces ===

function label(classes, options = {}) {
    return new Gtk.Label({css_classes: classes, xalign: 0, ellipsize: Pango.EllipsizeMode.END, ...options});
}

function box(orientation, classes, children = []) {
    const made = new Gtk.Box({orientation, css_classes: classes});
    children.forEach(child => made.append(child));
    return made;
}

const row = (classes, children) => box(Gtk.Orientation.HORIZONTAL, classes, children);
const column = (classes, children) => box(Gtk.Orientation.VERTICAL, classes, children);

/// A thing with a glyph, a name, a number, bars and a line of facts.
class Item {
    constructor(barCount) {
        this._glyph = label(['glyph']);
        this._name = label(['name']);
        this._id = label(['id'], {hexpand: true});
        this._number = label(['number']);
        this._bars = Array.from({length: barCount}, () => new Gtk.ProgressBar({css_classes: ['bar']}));
        this._facts = label(['facts']);
        this.widget = column(['item'], [
            row(['head'], [this._glyph, this._name, this._id, this._number]), ...this._bars, this._facts,
        ]);
    }

    show({kind, glyph, name, id, percent, bars, facts}) {
        this.widget.css_classes = ['item', kind];
        this._glyph.label = glyph;
        this._name.label = name;
        this._id.label = `${id}`;
        this._number.label = percent === null ? '' : `${Math.floor(percent)} %`;
        this._facts.label = facts;
        this._facts.visible = facts !== '';
        this._bars.forEach((bar, at) => {
            bar.visible = bars[at] !== null;
            bar.fraction = Math.min(1, Math.max(0, (bars[at] ?? 0) / 100));
        });
    }
}

/// Items under a title; the same things keep their widgets, so that nothing flickers.
class Section {
    constructor(title, barCount, kind) {
        this._barCount = barCount;
        this._items = new Map();
        this._list = column(['list'], []);
        this.widget = column(['section', kind], [label(['title'], {label: title}), this._list]);
    }

    show(things) {
        this.widget.visible = things.length > 0;
        const wanted = new Set(things.map(thing => thing.key));
        for (const [key, item] of this._items) {
            if (!wanted.has(key)) {
                this._list.remove(item.widget);
                this._items.delete(key);
            }
        }
        let before = null;
        for (const thing of things) {
            let item = this._items.get(thing.key);
            if (!item) {
                item = new Item(this._barCount);
                this._items.set(thing.key, item);
                this._list.append(item.widget);
            }
            this._list.reorder_child_after(item.widget, before);
            before = item.widget;
            item.show(thing);
        }
    }
}

// === The panel ===

class Panel {
    constructor(application, busType) {
        this._health = label(['pill']);
        this._counts = label(['counts'], {hexpand: true});
        this._jobs = new Section('Jobs', 1, 'jobs');
        this._gpus = new Section('GPUs', 2, 'gpus');
        this._more = label(['facts', 'more']);
        this._empty = label(['empty'], {xalign: 0.5});
        this._ended = column(['ended'], []);
        this._host = label(['facts', 'host']);
        const head = row(['top'], [label(['brand'], {label: 'stoked'}), this._counts, this._health]);
        const content = column(['panel'], [
            head, this._empty, this._jobs.widget, this._more, this._gpus.widget, this._ended, this._host,
        ]);
        this._window = new Gtk.ApplicationWindow({
            application, title: 'stoked', child: content, default_width: WIDTH, resizable: false,
        });
        content.width_request = WIDTH;
        this._model = new Stoked(() => this._draw(), busType);
        // Nothing is measured for a panel that nobody sees.
        this._window.connect('map', () => this._model.setLooking(true));
        this._window.connect('unmap', () => this._model.setLooking(false));
        this._window.connect('close-request', () => this._model.close());
        this._draw();
        this._window.present();
    }

    _draw() {
        const model = this._model;
        if (!model)
            return;
        const {running, waiting} = model.counts;
        const health = model.isHere ? model.health ?? '' : 'away';
        this._health.label = health;
        this._health.css_classes = ['pill', health];
        this._health.visible = health !== '';
        this._counts.label = model.isHere
            ? joined([running > 0 && `${running} running`, waiting > 0 && `${waiting} waiting`]) : '';
        this._window.title = joined(['stoked', this._counts.label || health]);
        const jobs = model.jobs;
        this._jobs.show(jobs.slice(0, MOST_JOBS).map(job => ({
            key: job.id,
            kind: job.state,
            glyph: GLYPHS[job.state] ?? '·',
            name: job.name,
            id: job.id,
            percent: job.percent,
            bars: [job.percent],
            facts: jobFacts(job),
        })));
        const left = jobs.length - MOST_JOBS;
        this._more.visible = left > 0;
        this._more.label = `and ${left} more`;
        this._empty.visible = jobs.length === 0;
        this._empty.label = model.isHere ? 'Nothing runs.' : 'The daemon is not here; this comes back with it.';
        this._gpus.show(model.gpus.map(gpu => ({
            key: gpu.index,
            kind: gpu.health,
            glyph: '▣',
            name: `GPU ${gpu.index}`,
            id: gpu.name.replace(/^NVIDIA /, ''),
            percent: gpu.utilPercent,
            bars: [gpu.utilPercent, gpu.memoryTotal > 0 ? (gpu.memoryUsed ?? 0) / gpu.memoryTotal * 100 : null],
            facts: gpuFacts(gpu),
        })));
        this._drawEnded(model.ended);
        const {cpuPercent, memoryUsed, memoryTotal} = model.host;
        this._host.label = joined([
            cpuPercent !== null && `CPU ${cpuPercent.toFixed(0)} %`,
            memoryUsed !== null && memoryTotal !== null && `memory ${part(memoryUsed, memoryTotal)}`,
        ]);
        this._host.visible = this._host.label !== '';
    }

    _drawEnded(ended) {
        for (let child = this._ended.get_first_child(); child; child = this._ended.get_first_child())
            this._ended.remove(child);
        this._ended.visible = ended.length > 0;
        if (ended.length > 0)
            this._ended.append(label(['title'], {label: 'Ended'}));
        for (const job of ended) {
            this._ended.append(row(['head', job.state], [
                label(['glyph'], {label: GLYPHS[job.state] ?? '·'}),
                label(['name'], {label: job.name}),
                label(['id'], {label: `${job.id}`, hexpand: true}),
                label(['facts'], {label: job.state.replace('_', ' ')}),
            ]));
        }
    }
}

const application = new Gtk.Application({application_id: 'io.stoked.Panel', flags: Gio.ApplicationFlags.NON_UNIQUE});
application.add_main_option('system', 0, GLib.OptionFlags.NONE, GLib.OptionArg.NONE,
    'Show the daemon of the system', null);
let busType = Gio.BusType.SESSION;
application.connect('handle-local-options', (_application, options) => {
    if (options.contains('system'))
        busType = Gio.BusType.SYSTEM;
    return -1;
});
application.connect('activate', () => {
    const provider = new Gtk.CssProvider();
    const here = Gio.File.new_for_uri(import.meta.url).get_parent();
    provider.load_from_file(here.get_child('panel.css'));
    Gtk.StyleContext.add_provider_for_display(Gdk.Display.get_default(), provider,
        Gtk.STYLE_PROVIDER_PRIORITY_APPLICATION);
    new Panel(application, busType);
});
system.exit(application.run([system.programInvocationName, ...ARGV]));
