// swift-tools-version: 6.1
import PackageDescription

// Fuzzers of what reads strangers' files, one a reader; `make fuzz` builds and runs them. A package of its own, since
// the sanitizers' flags are not for the users of Espalier.

/// The fuzzer in `Sources/<reader>`, seeded from `seeds/<reader>`.
func fuzzer(_ reader: String) -> Target {
  .executableTarget(name: reader, dependencies: ["Driver", "Repair", espalier])
}

let espalier = Target.Dependency.product(name: "Espalier", package: "espalier")

let package = Package(
  name: "fuzz",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "espalier", path: "../..")],
  targets: [.target(name: "Driver"), .target(name: "Repair", dependencies: [espalier])]
    + ["archive", "chunks", "delta", "gguf", "json", "lists", "programs", "readers", "vocabulary"].map(fuzzer),
  swiftLanguageModes: [.v6]
)
