module github.com/handfast/handfast/plugins/sdk/go

go 1.25
