// swift-tools-version: 6.1
import PackageDescription

// One list of settings for every Swift target. Modules carry the prefix `Espalier`, folders do not.
let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

/// A library room: module `Espalier<Name>` in `Sources/<Name>`, importing the rooms above it.
func room(_ name: String, imports: [String], c: [Target.Dependency] = [], resources: [Resource]? = nil) -> Target {
  .target(
    name: "Espalier\(name)", dependencies: imports.map { .byName(name: "Espalier\($0)") } + c,
    path: "Sources/\(name)", resources: resources, swiftSettings: settings)
}

/// The tests of one room: `Tests/<Name>Tests`, with what tests share. Other files than sources are found beside them,
/// not bundled.
func tests(
  _ name: String, imports: [String], support: [Target.Dependency] = [], excluding others: [String] = []
) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: ["TestSupport"] + support + imports.map { .byName(name: "Espalier\($0)") },
    path: "Tests/\(name)Tests", exclude: others, swiftSettings: settings)
}

let package = Package(
  name: "espalier",
  platforms: [.macOS(.v15)],
  products: [
    .executable(name: "espalier", targets: ["espalier"]),
    .library(
      name: "Espalier",
      targets: [
        "EspalierBasics", "EspalierNumerics", "EspalierCoding", "EspalierLinearMaps", "EspalierCheckpoints",
        "EspalierArchitectures", "EspalierExecution", "EspalierTokenizers", "EspalierNetworks", "EspalierEvaluation",
        "EspalierCalibration", "EspalierReduction", "EspalierRestructuring", "EspalierMerging", "EspalierRecipes",
      ]),
  ],
  traits: [
    .trait(name: "OpenBLAS", description: "LAPACK for spectra and ranks on Linux (macOS uses Accelerate)."),
    .trait(name: "SHA256", description: "`--sha256`: digests of whole files, by swift-crypto."),
    .default(enabledTraits: ["OpenBLAS", "SHA256"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
  ],
  targets: [
    .target(name: "CKernels", path: "Sources/CKernels"),
    .target(name: "CPlatform", path: "Sources/CPlatform"),
    .systemLibrary(
      name: "COpenBLAS", path: "Sources/COpenBLAS", pkgConfig: "openblas",
      providers: [.apt(["libopenblas-dev"]), .brew(["openblas"])]),
    .systemLibrary(
      name: "CXXHash", path: "Sources/CXXHash", pkgConfig: "libxxhash",
      providers: [.apt(["libxxhash-dev"]), .brew(["xxhash"])]),
    room(
      "Basics", imports: [],
      c: [
        "CPlatform", "CXXHash",
        .product(name: "Crypto", package: "swift-crypto", condition: .when(traits: ["SHA256"])),
      ]),
    room(
      "Numerics", imports: ["Basics"],
      c: ["CKernels", .target(name: "COpenBLAS", condition: .when(platforms: [.linux], traits: ["OpenBLAS"]))]),
    room("Coding", imports: ["Basics", "Numerics"], c: ["CKernels"]),
    room("LinearMaps", imports: ["Basics", "Numerics"], c: ["CKernels"]),
    room("Checkpoints", imports: ["Basics", "Numerics", "Coding", "LinearMaps"], c: ["CKernels"]),
    room(
      "Architectures", imports: ["Basics", "Numerics", "Checkpoints"],
      resources: [.embedInCode("Families")]),
    room("Execution", imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints"]),
    room("Tokenizers", imports: ["Basics"]),
    room(
      "Networks", imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints", "Architectures"], c: ["CKernels"]),
    room(
      "Evaluation",
      imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints", "Architectures", "Tokenizers", "Networks"],
      c: ["CKernels"]),
    room(
      "Calibration",
      imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints", "Architectures", "Tokenizers", "Networks"]),
    room("Reduction", imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints"], c: ["CKernels"]),
    room(
      "Restructuring",
      imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints", "Architectures", "Networks", "Reduction"]),
    room("Merging", imports: ["Basics", "Numerics", "Checkpoints", "Execution"], c: ["CKernels"]),
    room(
      "Recipes",
      imports: [
        "Basics", "Numerics", "Coding", "LinearMaps", "Checkpoints", "Architectures", "Execution", "Tokenizers",
        "Networks", "Evaluation", "Calibration", "Reduction", "Restructuring", "Merging",
      ],
      c: [.product(name: "Yams", package: "Yams")]),
    .executableTarget(
      name: "espalier",
      dependencies: [
        "EspalierBasics", "EspalierNumerics", "EspalierCheckpoints", "EspalierArchitectures", "EspalierExecution",
        "EspalierLinearMaps", "EspalierTokenizers", "EspalierNetworks", "EspalierEvaluation", "EspalierCalibration",
        "EspalierReduction", "EspalierRestructuring", "EspalierMerging", "EspalierRecipes",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Sources/espalier", swiftSettings: settings),
    .target(
      name: "TestSupport", dependencies: ["EspalierBasics", "EspalierNumerics", "EspalierCheckpoints"],
      path: "Tests/Support", swiftSettings: settings),
    .target(
      name: "NetworkTestSupport",
      dependencies: ["EspalierBasics", "EspalierNumerics", "EspalierCheckpoints", "EspalierNetworks"],
      path: "Tests/NetworkSupport", swiftSettings: settings),
    tests("Basics", imports: ["Basics"]),
    tests("Numerics", imports: ["Basics", "Numerics"]),
    tests("Coding", imports: ["Basics", "Numerics", "Coding"]),
    tests("LinearMaps", imports: ["Basics", "Numerics", "LinearMaps"], excluding: ["Fixtures"]),
    tests(
      "Checkpoints", imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints"],
      excluding: ["Fixtures", "make_packed_fixtures.py"]),
    tests(
      "Architectures", imports: ["Basics", "Numerics", "Checkpoints", "Architectures"],
      excluding: ["Fixtures", "GGUFFixtures", "make_fixtures.py", "make_gguf_fixtures.py"]),
    tests("Execution", imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints", "Execution"]),
    tests("Tokenizers", imports: ["Basics", "Tokenizers"], excluding: ["Fixtures"]),
    tests(
      "Networks",
      imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints", "Architectures", "Networks"],
      support: ["NetworkTestSupport"], excluding: ["Fixtures", "GGUF", "make_fixtures.py"]),
    tests(
      "Evaluation",
      imports: [
        "Basics", "Numerics", "LinearMaps", "Checkpoints", "Architectures", "Tokenizers", "Networks", "Evaluation",
      ]),
    tests(
      "Calibration",
      imports: [
        "Basics", "Numerics", "LinearMaps", "Checkpoints", "Architectures", "Tokenizers", "Networks", "Calibration",
      ]),
    tests(
      "Reduction", imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints", "Reduction"], excluding: ["Fixtures"]),
    tests(
      "Restructuring",
      imports: ["Basics", "Numerics", "LinearMaps", "Checkpoints", "Architectures", "Networks", "Restructuring"],
      support: ["NetworkTestSupport"]),
    tests(
      "Merging", imports: ["Basics", "Numerics", "Checkpoints", "Execution", "Merging"],
      excluding: ["Fixtures", "make_fixtures.py"]),
    tests(
      "Recipes",
      imports: [
        "Basics", "Numerics", "LinearMaps", "Checkpoints", "Architectures", "Execution", "Tokenizers", "Networks",
        "Evaluation", "Calibration", "Reduction", "Merging", "Recipes",
      ], excluding: ["Fixtures"]),
    .testTarget(
      name: "CommandLineTests",
      dependencies: ["espalier", "EspalierBasics", "EspalierNumerics", "EspalierCheckpoints", "TestSupport"],
      path: "Tests/CommandLineTests", swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
