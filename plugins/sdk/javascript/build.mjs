#!/usr/bin/env node
// handfast-policy build SOURCE [-o COMPONENT]: from a JavaScript or TypeScript module to a component.
//
// TypeScript is checked (strictly, unless a tsconfig.json lies beside the source), the module and what it imports become one
// with esbuild, and componentize-qjs puts that into a component with QuickJS. The component exports the hooks that the module
// exports and imports only what is left after esbuild dropped what is not used, so that a policy needs a grant only for what
// it calls. WASI, which QuickJS imports, needs none: the gateway stands in for it.
//
// QuickJS, and not SpiderMonkey (componentize-js): 1.7 MB instead of 12, a call in a used instance takes 10 µs instead of 40, in
// a fresh one 80 instead of 250; no policy computes enough for a compiler of hot code to catch up.

import { mkdtempSync, readFileSync, rmSync, writeFileSync, mkdirSync, existsSync, renameSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { componentize } from "componentize-qjs";
import * as esbuild from "esbuild";
import ts from "typescript";

const sdk = path.dirname(fileURLToPath(import.meta.url));
const hooks = ["select", "validate", "admit", "configure"];
const namespace = "handfast:policy/";
// What `wasi:` is called until the component is made. componentize-qjs 0.4.5 runs the component once with a `wasi:http` of its
// own, merges an author's into that, and then says of `output-stream` "mismatched resource types".
const stand = "call:";

const usage = "usage: handfast-policy build SOURCE [-o COMPONENT]";

async function main(words) {
    if (words[0] !== "build") fail(usage);
    let source, output;
    for (let at = 1; at < words.length; at++) {
        if (words[at] === "-o") output = words[++at];
        else if (source === undefined) source = words[at];
        else fail(usage);
    }
    if (source === undefined) fail(usage);
    source = path.resolve(source);
    if (!existsSync(source)) fail(`cannot read ${source}`);
    output = path.resolve(output ?? source.replace(/\.[a-z]+$/, "") + ".wasm");

    if (source.endsWith(".ts")) check(source);
    const exported = await exportsOf(source);
    const found = hooks.filter((hook) => exported.includes(hook));
    if (!found.some((hook) => hook !== "configure")) {
        fail(`${source} exports no hook: it needs \`export const select\`, \`validate\` or \`admit\``);
    }

    const folder = mkdtempSync(path.join(tmpdir(), "handfast-policy-"));
    try {
        const { code, imports } = await bundle(source, found, folder);
        const bundled = path.join(folder, "bundle.mjs");
        writeFileSync(bundled, code);
        const component = await componentize({
            ...world(folder, imports, found), jsPath: bundled, jsSource: code, sync: true,
        });
        const bytes = withNamesOfWasi(withOwnedArguments(component.component), callsHosts(imports));
        const partial = `${output}.${process.pid}`;
        writeFileSync(partial, bytes);
        renameSync(partial, output);
        console.log(`${path.relative(process.cwd(), output)}: ${found.join(", ")}; ${statSync(output).size} bytes`);
    } finally {
        rmSync(folder, { recursive: true });
    }
}

// Where this package is found, for a source that lies outside of the project that installed it.
function paths() {
    return { "handfast-policy": ["src/index.ts"], "handfast-policy/counter": ["src/counter.ts"],
        "handfast-policy/http": ["src/http.ts"], "handfast-policy/key-value": ["src/key-value.ts"] };
}

function check(source) {
    const options = {
        strict: true, noEmit: true, target: ts.ScriptTarget.ES2023, lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
        module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, skipLibCheck: true, types: [],
        allowImportingTsExtensions: true, baseUrl: sdk, paths: paths(),
    };
    const beside = path.join(path.dirname(source), "tsconfig.json");
    if (existsSync(beside)) {
        const { config } = ts.readConfigFile(beside, ts.sys.readFile);
        Object.assign(options, ts.parseJsonConfigFileContent(config ?? {}, ts.sys, path.dirname(source)).options);
        Object.assign(options, { noEmit: true, baseUrl: sdk, paths: paths() });
    }
    const program = ts.createProgram([source, path.join(sdk, "src/wit.d.ts")], options);
    const complaints = ts.getPreEmitDiagnostics(program);
    if (complaints.length > 0) {
        const host = {
            getCanonicalFileName: (name) => name, getCurrentDirectory: () => process.cwd(), getNewLine: () => "\n",
        };
        fail(ts.formatDiagnostics(complaints, host).trimEnd());
    }
}

async function exportsOf(source) {
    const { metafile } = await esbuild.build({ ...settings(), entryPoints: [source], write: false, outfile: "policy.mjs" });
    return Object.values(metafile.outputs).find((output) => output.entryPoint)?.exports ?? [];
}

async function bundle(source, found, folder) {
    const names = found.map((hook) => `${hook} as ${hook}Hook`).join(", ");
    const entry = [
        `import { hooks } from "handfast-policy";`,
        `import { ${names} } from ${JSON.stringify(source)};`,
        ...found.map((hook) => `export const ${hook} = hooks.${hook}(${hook}Hook);`),
    ].join("\n");
    const { outputFiles, metafile } = await esbuild.build({
        ...settings(), stdin: { contents: entry, resolveDir: path.dirname(source), sourcefile: "entry.mjs" },
        write: false, outfile: path.join(folder, "bundle.mjs"),
    });
    const imports = Object.values(metafile.outputs).flatMap((output) => output.imports).map(({ path }) => path);
    return { code: outputFiles[0].text, imports: [...new Set(imports)].sort() };
}

function settings() {
    return {
        bundle: true, format: "esm", target: "es2023", metafile: true, logLevel: "silent", treeShaking: true,
        plugins: [{
            name: "handfast",
            setup(build) {
                build.onResolve({ filter: /^(handfast|wasi):/ }, ({ path }) => (
                    { path: path.replace(/^wasi:/, stand), external: true, sideEffects: false }
                ));
                build.onResolve({ filter: /^handfast-policy($|\/)/ }, ({ path: name }) => {
                    const file = { ...paths() }[name]?.[0];
                    return file ? { path: path.join(sdk, file), sideEffects: false } : undefined;
                });
            },
        }],
    };
}

// A world with what the bundle imports and exports, and nothing else.
function world(folder, imports, found) {
    const wit = path.join(folder, "wit");
    mkdirSync(path.join(wit, "deps/handfast"), { recursive: true });
    writeFileSync(path.join(wit, "deps/handfast/policy.wit"), readFileSync(path.join(sdk, "policy.wit")));
    for (const name of ["clocks", "io", "http"]) {
        mkdirSync(path.join(wit, "deps", name));
        writeFileSync(path.join(wit, "deps", name, `${name}.wit`), 
            readFileSync(path.join(sdk, "wasi", `${name}.wit`), "utf8").replaceAll("wasi:", stand));
    }
    const calls = callsHosts(imports);
    const lines = [
        "package handfast:built;", "world policy {", "    import handfast:policy/types@1.0.0;",
        ...imports.filter((name) => name.startsWith(namespace)).map((name) => `    import ${name};`),
        ...(calls ? [`    import ${stand}http/outgoing-handler@0.2.0;`] : []),
        ...found.map((hook) => `    export ${namespace}${hook}@1.0.0;`), "}", "",
    ];
    writeFileSync(path.join(wit, "world.wit"), lines.join("\n"));
    return { witPath: wit, world: "policy" };
}

// componentize-qjs 0.4.5 gives what a hook borrowed back in the function that is called after the return. The canonical ABI
// wants it before, and wasmtime 48 says "borrow handles still remain at the end of the call". QuickJS' runtime has two
// functions of the same type that receive a handle, one for borrowed resources, which keeps that late account, and one for
// owned ones, whose objects JavaScript can give back with Symbol.dispose; the hooks in src/index.ts do. So the name of the first is made
// to mean the second: one number in the export section of the runtime, of the same length, so nothing else moves.
function withOwnedArguments(component) {
    const bytes = Buffer.from(component);
    let changed = 0;
    const number = (at) => numberIn(bytes, at);
    const sections = (at, end) => sectionsIn(bytes, at, end);
    const inModule = ({ body, end }) => {
        for (const section of sections(body + 8, end)) {
            if (section.id !== 7) continue;
            const found = {};
            let [count, at] = number(section.body);
            while (count-- > 0) {
                const [length, name] = number(at);
                const index = name + length + 1;
                [, at] = number(index);
                found[bytes.toString("latin1", name, name + length)] = bytes.subarray(index, at);
            }
            const { wit_dylib_push_borrow: borrowed, wit_dylib_push_own: owned } = found;
            if (borrowed === undefined || owned === undefined) continue;
            if (borrowed.length !== owned.length) fail("this version of componentize-qjs is not known to handfast-policy");
            owned.copy(borrowed);
            changed++;
        }
    };
    const inComponent = ({ body, end }) => {
        for (const section of sections(body + 8, end)) {
            if (section.id === 1) inModule(section);
            if (section.id === 4) inComponent(section);
        }
    };
    inComponent({ body: 0, end: bytes.length });
    if (changed !== 1) fail("this version of componentize-qjs is not known to handfast-policy");
    return bytes;
}

// The names of the component's own imports; within, where nothing but the component itself reads them, the others stay.
function withNamesOfWasi(bytes, expected) {
    let renamed = false;
    for (const { id, body, end } of sectionsIn(bytes, 8, bytes.length)) {
        if (id !== 10) continue;
        for (const name of ["clocks", "io", "http"].map((name) => `${stand}${name}/`)) {
            for (let at = bytes.indexOf(name, body); at >= 0 && at < end; at = bytes.indexOf(name, at)) {
                bytes.write("wasi:", at, "latin1");
                renamed = true;
            }
        }
    }
    if (renamed !== expected) fail("this version of componentize-qjs is not known to handfast-policy");
    return bytes;
}

function callsHosts(imports) {
    return imports.some((name) => name.startsWith(`${stand}http/`));
}

// A number in LEB128, and where it ends.
function numberIn(bytes, at) {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
        const byte = bytes[at++];
        value += (byte & 127) * 2 ** shift;
        if (byte < 128) return [value, at];
    }
}

function* sectionsIn(bytes, at, end) {
    while (at < end) {
        const [length, body] = numberIn(bytes, at + 1);
        yield { id: bytes[at], body, end: body + length };
        at = body + length;
    }
}

function fail(message) {
    console.error(message);
    process.exit(1);
}

await main(process.argv.slice(2)).catch((error) => fail(error.message ?? String(error)));
