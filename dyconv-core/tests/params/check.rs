//! What a layer refuses: tensors that are missing, superfluous, of another size, or not finite.

use dyconv_core::{Attention, BatchNorm, Config, DyConv2d, Initializers, Options, ParamSpec, Params, Squash};

fn config() -> Config {
    let mlp = Attention::mlp(2);
    let options = Options::new(4, 6).groups(2).kernel_size([3, 1]).experts(3).bias(true).attention(mlp);
    options.batch_norm(BatchNorm::KERAS).build().unwrap()
}

fn params() -> Params {
    Params::init(&config(), &Initializers::default(), 0).unwrap()
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Params), expected: &str) {
    let mut params = params();
    change(&mut params);
    assert_eq!(DyConv2d::new(config(), params).unwrap_err().to_string(), expected);
}

#[test]
fn the_tensors_of_every_kind_of_layer() {
    let names = |attention: Attention, experts: usize| {
        let options = Options::new(5, 7).experts(experts).attention(attention);
        let specs = ParamSpec::all(&options.build().unwrap());
        specs.into_iter().map(|spec| (spec.name, spec.shape, spec.required)).collect::<Vec<_>>()
    };
    let weight = ("weight", vec![2, 7, 5, 1, 1], true);
    assert_eq!(names(Attention::Given, 2), std::slice::from_ref(&weight));
    assert_eq!(
        names(Attention::Linear { squash: Squash::Sigmoid }, 2),
        [weight, ("attention.fc2.weight", vec![2, 5], true), ("attention.fc2.bias", vec![2], false),]
    );
    let all = ParamSpec::all(&config());
    let shape = |name: &str| all.iter().find(|spec| spec.name == name).unwrap().shape.clone();
    assert_eq!(all.len(), 10);
    assert_eq!(shape("weight"), [3, 6, 2, 3, 1]);
    assert_eq!(shape("bias"), [3, 6]);
    assert_eq!(shape("attention.fc1.weight"), [2, 4]);
    assert_eq!(shape("attention.fc1.bias"), [2]);
    assert_eq!(shape("attention.fc2.weight"), [3, 2]);
    assert_eq!(shape("bn.running_var"), [6]);
}

#[test]
fn wrong_sizes() {
    refused(|p| p.weight.truncate(5), "weight is 5 elements; expected [3, 6, 2, 3, 1]");
    refused(|p| p.bias = Some(vec![]), "bias is 0 elements; expected [3, 6]");
    refused(
        |p| p.attention.as_mut().unwrap().fc2.weight.push(0.0),
        "attention.fc2.weight is 7 elements; expected [3, 2]",
    );
    refused(
        |p| p.attention.as_mut().unwrap().fc1.as_mut().unwrap().bias = Some(vec![0.0]),
        "attention.fc1.bias is 1 elements; expected [2]",
    );
    refused(|p| p.batch_norm.as_mut().unwrap().bias.clear(), "bn.bias is 0 elements; expected [6]");
}

#[test]
fn missing_and_superfluous_tensors() {
    refused(|p| p.bias = None, "bias is missing; expected a tensor [3, 6]");
    refused(|p| p.attention = None, "attention.fc1.weight is missing; expected a tensor [2, 4]");
    refused(
        |p| p.attention.as_mut().unwrap().fc1 = None,
        "attention.fc1.weight is missing; expected a tensor [2, 4]",
    );
    refused(|p| p.batch_norm = None, "bn.weight is missing; expected a tensor [6]");
    let plain = Options::new(4, 6).build().unwrap();
    let mut params = Params::init(&plain, &Initializers::default(), 0).unwrap();
    params.bias = Some(vec![0.0; 6]);
    let message = DyConv2d::new(plain, params).unwrap_err().to_string();
    assert_eq!(message, "bias is present; expected no such tensor for this configuration");
}

#[test]
fn numbers_that_are_not_finite_and_negative_variances() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        refused(|p| p.weight[7] = value, &format!("weight[7] is {value}; expected a finite number"));
        refused(
            |p| p.batch_norm.as_mut().unwrap().running_mean[5] = value,
            &format!("bn.running_mean[5] is {value}; expected a finite number"),
        );
    }
    refused(
        |p| p.batch_norm.as_mut().unwrap().running_var[2] = -1e-9,
        "bn.running_var[2] is -0.000000001; expected at least 0",
    );
    let mut zero = params();
    zero.batch_norm.as_mut().unwrap().running_var[2] = 0.0;
    DyConv2d::new(config(), zero).unwrap();
}

#[test]
fn head_biases_may_be_absent() {
    let mut params = params();
    let head = params.attention.as_mut().unwrap();
    head.fc2.bias = None;
    head.fc1.as_mut().unwrap().bias = None;
    let names: Vec<_> = params.tensors().into_iter().map(|(name, _)| name).collect();
    assert!(!names.contains(&"attention.fc1.bias") && !names.contains(&"attention.fc2.bias"));
    DyConv2d::new(config(), params).unwrap();
}

#[test]
fn from_named_puts_together_what_tensors_takes_apart() {
    let params = params();
    let again = Params::from_named(&config(), |spec| {
        let found = params.tensors().into_iter().find(|(name, _)| *name == spec.name);
        Ok(found.map(|(_, data)| data.to_vec()))
    });
    assert_eq!(again.unwrap(), params);
    let missing = Params::from_named(&config(), |_| Ok(None)).unwrap_err();
    assert_eq!(missing.to_string(), "weight is missing; expected a tensor [3, 6, 2, 3, 1]");
}
