module example.org/my-policy

go 1.25

require github.com/handfast/handfast/plugins/sdk/go v0.0.0

replace github.com/handfast/handfast/plugins/sdk/go => ./sdk
