// What the panel of examples/desktop knows, one line of JSON for each change.

import GLib from 'gi://GLib';
import {Stoked, harmless} from '../../examples/desktop/model.js';

print(JSON.stringify({harmless: harmless('a\u001b\u202e<b>')}));
const model = new Stoked(() => {
    const {isHere, health, counts, jobs, gpus, host, ended} = model;
    print(JSON.stringify({isHere, health, counts, jobs, gpus, host, ended}));
});
model.setLooking(true);
GLib.MainLoop.new(null, false).run();
