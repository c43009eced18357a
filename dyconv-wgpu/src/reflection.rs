//! Every composed shader, checked without a GPU: naga (and tint, where there is one) accept it, and what
//! it binds and how its uniforms lie is what the host believes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, StorageAccess, TypeInner};

use crate::kernel::{Access, Convolution, Kernel};
use crate::params;
use crate::stages::backward;

fn parse(kernel: Kernel) -> Module {
    let source = kernel.wgsl();
    wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{kernel}: {}", error.emit_to_string(&source)))
}

#[test]
fn naga_accepts_every_shader() {
    for kernel in Kernel::all() {
        // WebGPU has f16 inside words everywhere, and as a type where the device has the feature.
        let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        let features = kernel.features();
        capabilities.set(Capabilities::SHADER_FLOAT16, features.contains(wgpu::Features::SHADER_F16));
        capabilities.set(Capabilities::SUBGROUP, features.contains(wgpu::Features::SUBGROUP));
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        validator.validate(&parse(kernel)).unwrap_or_else(|error| panic!("{kernel}: {error:?}"));
    }
}

/// naga doesn't look for barriers in divergent control flow; tint does.
#[test]
fn tint_accepts_every_shader() {
    if !has_tint() {
        let required = std::env::var("DYCONV_REQUIRE_TINT").is_ok_and(|value| value == "1");
        assert!(!required, "DYCONV_REQUIRE_TINT=1, and no `tint` that accepts --format wgsl is on PATH");
        println!("skipped: no `tint` that accepts --format wgsl on PATH");
        return;
    }
    for (i, kernel) in Kernel::all().enumerate() {
        // naga knows subgroups, and not yet the directive by which WGSL asks for them.
        let by_subgroups = kernel.features().contains(wgpu::Features::SUBGROUP);
        let wgsl = format!("{}{}", if by_subgroups { "enable subgroups;\n" } else { "" }, kernel.wgsl());
        let file = Scratch::new(&format!("{i}-{}.wgsl", kernel.entry_point()), &wgsl);
        let output = tint(&file).output().expect("tint runs");
        assert!(output.status.success(), "{kernel}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn bindings_are_what_the_host_binds() {
    for kernel in Kernel::all() {
        let module = parse(kernel);
        let mut found: Vec<_> = module
            .global_variables
            .iter()
            .filter_map(|(_, variable)| variable.binding.map(|binding| (binding.binding, variable.space)))
            .collect();
        found.sort_by_key(|(binding, _)| *binding);
        let spaces = kernel.storage().iter().map(|access| AddressSpace::Storage {
            access: match access {
                Access::Read => StorageAccess::LOAD,
                Access::Write => StorageAccess::LOAD | StorageAccess::STORE,
            },
        });
        let expected: Vec<_> = (0..).zip(std::iter::once(AddressSpace::Uniform).chain(spaces)).collect();
        assert_eq!(found, expected, "{kernel}");
    }
}

#[test]
fn shaders_stay_within_their_limits() {
    let defaults = wgpu::Limits::default();
    for kernel in Kernel::all() {
        let module = parse(kernel);
        let [entry] = &module.entry_points[..] else { panic!("{kernel}: one entry point") };
        assert_eq!(
            (entry.name.as_str(), entry.workgroup_size),
            (kernel.entry_point(), [kernel.threads(), 1, 1])
        );
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).expect("sizes");
        let workgroup: u32 = module
            .global_variables
            .iter()
            .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
            .map(|(_, variable)| layouter[variable.ty].size)
            .sum();
        // Only a tile that is never chosen without them takes more than WebGPU's defaults.
        let allowed = match kernel {
            Kernel::Convolve(Convolution { tile, .. }) => tile.bytes(),
            _ => defaults.max_compute_workgroup_storage_size,
        };
        assert!(workgroup <= allowed, "{kernel}: {workgroup} bytes of workgroup memory");
        assert!(kernel.storage().len() <= 8, "{kernel}");
    }
}

#[test]
fn uniforms_lie_as_in_wgsl() {
    let layouts = [params::layouts(), params::train::layouts()].concat();
    let mut compared = 0;
    for kernel in Kernel::all() {
        let module = parse(kernel);
        for (_, ty) in module.types.iter() {
            let (Some(name), TypeInner::Struct { members, span }) = (&ty.name, &ty.inner) else { continue };
            if !name.ends_with("Params") {
                continue;
            }
            let (_, size, fields) = layouts
                .iter()
                .find(|(ours, ..)| ours == name)
                .unwrap_or_else(|| panic!("{name} on the host"));
            let theirs: Vec<_> = members
                .iter()
                .map(|member| {
                    let kind = match module.types[member.ty].inner {
                        TypeInner::Scalar(scalar) if scalar.width == 4 => match scalar.kind {
                            ScalarKind::Uint => "u32",
                            ScalarKind::Sint => "i32",
                            ScalarKind::Float => "f32",
                            _ => "?",
                        },
                        _ => "?",
                    };
                    (member.name.as_deref().unwrap_or("?"), member.offset as usize, kind)
                })
                .collect();
            assert_eq!(&theirs, fields, "{name}");
            assert_eq!(*span as usize, *size, "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, Kernel::all().count(), "every kernel has one uniform");
}

/// The host's numbers for activations, flags and tile constants are the shaders'.
#[test]
fn shared_constants_agree() {
    let source: String = Kernel::all().map(Kernel::wgsl).collect();
    let constant = |name: &str, value: u32| {
        let line = format!("const {name}: u32 = {value}u;");
        assert!(source.contains(&line), "{line}");
    };
    constant("HAS_BIAS", params::HAS_BIAS);
    constant("HAS_NORM", params::HAS_NORM);
    constant("HAS_RESIDUAL", params::HAS_RESIDUAL);
    constant("CONTINUES", params::CONTINUES);
    constant("IS_PART", params::IS_PART);
    constant("EMITS", params::EMITS);
    constant("PANEL", crate::pack::PANEL as u32);
    constant("SAMPLES", crate::stages::SAMPLES as u32);
    let [rows, columns] = backward::convolve::TILE;
    constant("ROWS", rows as u32);
    constant("COLUMNS", columns as u32);
    constant("HAS_SHARE", backward::convolve::HAS_SHARE);
    constant("HAS_OTHER", backward::convolve::HAS_OTHER);
    constant("EXPERTS", backward::aggregate::EXPERTS as u32);
    constant("SECTION", crate::train::SECTION as u32);
    for activation in dyconv_core::Activation::ALL {
        let (code, _) = params::activation_code(activation);
        if code != 0 {
            constant(&activation.name().to_uppercase(), code);
        }
    }
}

/// A program of that name that does what we need: in Debian another one has it.
fn has_tint() -> bool {
    let good = Scratch::new("good.wgsl", "@compute @workgroup_size(1) fn good() {}");
    let bad = Scratch::new("bad.wgsl", "fn bad( {");
    let accepts = |file: &Scratch| tint(file).status().is_ok_and(|status| status.success());
    accepts(&good) && !accepts(&bad)
}

fn tint(file: &Scratch) -> Command {
    let mut command = Command::new("tint");
    command.args(["--format", "wgsl"]).arg(&file.0).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A file that goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dyconv-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("the temporary directory is writable");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
