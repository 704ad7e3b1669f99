import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

/// `espalier try`: methods on one matrix, from the command line.
@Suite struct TryTests {
  private static let folder = "\(packageFolder)/Tests/ReductionTests/Fixtures/compression"

  /// A case of the goldens as arguments of the command; nil for methods that are not there yet.
  private static func arguments(_ entry: JSON) -> [String]? {
    let parameters = entry["params"] ?? .null
    func budget() -> [String] {
      if let pattern = parameters["nm"]?.array?.compactMap(\.integer), pattern.count == 2 {
        // The reference counts what goes.
        return ["--pattern", "\(pattern[1] - pattern[0]):\(pattern[1])"]
      }
      if let sparsity = parameters["sparsity"]?.number { return ["--sparsity", "\(sparsity)"] }
      return ["--rank", "\(parameters["rank"]?.integer ?? 0)"]
    }
    switch entry["method"]?.string {
    case "magnitude": return ["magnitude"] + budget() + ["--set", "scope=\(parameters["scope"]?.string ?? "layer")"]
    case "wanda": return ["wanda"] + budget()
    case "sparsegpt":
      return ["sparsegpt"] + budget() + [
        "--set", "block_size=\(parameters["blocksize"]?.integer ?? 0)", "--set",
        "damp=\(parameters["percdamp"]?.number ?? 0)",
      ]
    case "svd": return ["svd"] + budget()
    case "whitened_svd": return ["whitened-svd"] + budget()
    case "feature_pca":
      return ["feature-pca"] + budget() + ["--set", "center=\(parameters["centered"]?.bool ?? false)"]
    case "cur": return ["cur"] + budget()
    case "cid": return ["interpolative"] + budget()
    default: return nil
    }
  }

  @Test(arguments: ["p64x96", "p96x64_lowrank_x", "p128x256_singular"])
  func errorsAreTheReferences(_ name: String) throws {
    let stem = "\(Self.folder)/\(name)"
    let cases = try JSON(parsing: try FileSystem.read(stem + ".json"))["cases"]?.array ?? []
    var seen = 0
    for entry in cases {
      guard let arguments = Self.arguments(entry) else { continue }
      seen += 1
      let label = entry["case"]?.string ?? ""
      let outcome = try Program.run(
        ["try"] + arguments + ["--weight", "\(stem).safetensors:W", "--inputs", "\(stem).safetensors:X", "--json"])
      try #require(outcome.code == 0, "\(label): \(outcome)")
      let found = try JSON(parsing: Array(outcome.output.utf8))
      let after = try #require(found["error_after"]?.number)
      #expect(found["after"]?["kind"] == "measured" && found["before"]?["kind"] == "measured", "\(label)")
      if entry["params"]?["centered"] == true {
        // The reference leaves the shift out of this figure, which makes its error larger.
        let plain = try #require(entry["output_error_rel"]?.number)
        #expect(after <= plain * (1 + 1e-4) && after > 0.5 * plain, "\(label): \(after), reference \(plain)")
      } else {
        let expected = try #require(entry["output_error_rel"]?.number)
        #expect(abs(after - expected) <= 1e-4 * expected, "\(label): \(after), reference \(expected)")
      }
      #expect(try #require(found["solve_seconds"]?.number) > 0)
      if entry["method"] == "magnitude" || entry["method"] == "svd" {
        #expect(found["error_before"] == found["error_after"], "\(label)")
      }
      if ["magnitude", "wanda", "sparsegpt"].contains(entry["method"]?.string) {
        #expect(found["after"]?["stored_numbers"] == entry["nonzero"], "\(label)")
      }
    }
    #expect(seen == 16 + 18)
  }

  /// One row pruned exactly.
  @Test(arguments: ["p64x96", "p96x64_lowrank_x", "p128x256_singular"])
  func exactStepsAreTheReferences(_ name: String) throws {
    try withTemporaryFolder { folder in
      let stem = "\(Self.folder)/\(name)"
      let file = try File.reading(stem + ".safetensors")
      let weight = try #require(try SafetensorsHeader(reading: file).tensors.first { $0.name == "W" })
      let columns = weight.shape[1]
      let row = try file.read(4 * columns, at: weight.offset + 5 * 4 * columns)
      let path = "\(folder)/row.safetensors"
      try TestTensor.write([TestTensor("row", [1, columns], bytes: row, .f32)], to: path)
      let inputs = "\(stem).safetensors:X"
      // Damping is by the mean of the diagonal, so one row alone has the moment of all.
      for entry in try JSON(parsing: try FileSystem.read(stem + ".json"))["cases"]?.array ?? []
      where entry["method"] == "obc_exact" {
        let pruned = try #require(entry["params"]?["pruned"]?.integer)
        let sparsity = (Double(pruned) + 0.5) / Double(columns)
        let outcome = try Program.run(
          "try", "obc", "--weight", path, "--inputs", inputs, "--sparsity", "\(sparsity)", "--json")
        try #require(outcome.code == 0, "\(outcome)")
        let found = try JSON(parsing: Array(outcome.output.utf8))
        #expect(found["after"]?["stored_numbers"]?.integer == columns - pruned)
        let (after, expected) = (
          try #require(found["error_after"]?.number), try #require(entry["output_error_rel"]?.number)
        )
        #expect(abs(after - expected) <= 1e-4 * expected, "\(pruned): \(after), reference \(expected)")
      }
    }
  }

  @Test func theTableSaysWhatIsComparedWithWhat() throws {
    let problem = "\(Self.folder)/p64x96.safetensors"
    let outcome = try Program.run(
      "try", "wanda", "--weight", "\(problem):W", "--inputs", "\(problem):X", "--pattern", "2:4")
    #expect(outcome.code == 0, "\(outcome)")
    let lines = outcome.output.split(separator: "\n").map(String.init)
    #expect(lines.first?.hasPrefix("wanda at 2:4 on W, 64 x 96 F32, ") == true, "\(outcome)")
    #expect(
      lines.contains { $0.hasPrefix("before") && $0.contains("magnitude") && $0.contains("0.38987") }, "\(outcome)")
    #expect(lines.contains { $0.hasPrefix("after") && $0.contains("wanda") && $0.contains("0.15481") }, "\(outcome)")
    #expect(outcome.output.contains("relative Frobenius norm of the outputs on the calibration data"))
  }

  @Test func theOutputIsReplacedOnlyByForce() throws {
    try withTemporaryFolder { folder in
      let problem = "\(Self.folder)/p64x96.safetensors"
      let output = "\(folder)/deep/er/out.safetensors"
      let arguments = ["try", "svd", "--weight", "\(problem):W", "--rank", "8", "-o", output]
      let first = try Program.run(arguments)
      #expect(first.code == 0 && first.output.contains("no inputs"), "\(first)")
      let bytes = try FileSystem.read(output)
      let second = try Program.run(arguments)
      #expect(second.code == 1 && second.errors.contains("output.exists"), "\(second)")
      #expect(try FileSystem.read(output) == bytes)
      let forced = try Program.run(arguments + ["--force", "--store", "reduced"])
      #expect(forced.code == 0, "\(forced)")
      #expect(try FileSystem.list("\(folder)/deep/er") == ["out.safetensors"])
      let inspected = try Program.run("inspect", output, "--json")
      let json = try JSON(parsing: Array(inspected.output.utf8))
      #expect(json["reduced"]?["forms"]?[0]?["name"] == "low_rank", "\(inspected)")
      #expect(json["tensors"]?[0]?["form"]?["rank"] == 8)

      let own = "\(folder)/own.safetensors"
      try FileSystem.write(try FileSystem.read(problem), to: own)
      let overwriting = try Program.run("try", "svd", "--weight", "\(own):W", "--rank", "8", "-o", own, "--force")
      #expect(overwriting.code == 1 && overwriting.errors.contains("output.input"), "\(overwriting)")
      #expect(try FileSystem.read(own) == FileSystem.read(problem))
    }
  }

  @Test(
    arguments: [
      (["wonda"], "did you mean wanda?"), (["wanda"], "Give the weight"),
      (["wanda", "--weight", "w"], "needs --inputs"),
      (["wanda", "--weight", "w", "--inputs", "x"], "Give one budget"),
      (["wanda", "--weight", "w", "--inputs", "x", "--sparsity", "0.5", "--rank", "3"], "Give one budget"),
      (["wanda", "--weight", "w", "--inputs", "x", "--sparsity", "1.5"], "from 0 to 1"),
      (["wanda", "--weight", "w", "--inputs", "x", "--pattern", "4:2"], "is not N:M"),
      (["svd", "--weight", "w", "--sparsity", "0.5"], "svd makes factors: its budget is --rank"),
      (["obc", "--weight", "w", "--inputs", "x", "--rank", "3"], "obc makes zeros: its budget is --sparsity"),
      (["svd", "--weight", "w", "--rank", "0"], "at least 1"),
      (["svd", "--weight", "w", "--parameters", "0"], "above 0"),
      (
        ["wanda", "--weight", "w", "--inputs", "x", "--sparsity", "0.5", "--set", "scop=row"], "has no parameter `scop`"
      ),
      (["wanda", "--weight", "w", "--inputs", "x", "--sparsity", "0.5", "--set", "scope=all"], "one of row, layer"),
      (["wanda", "--weight", "w", "--inputs", "x", "--sparsity", "0.5", "--set", "scope"], "is not name=value"),
      (["wanda", "--weight", "w", "--inputs", "x", "--statistics", "s", "--sparsity", "0.5"], "not both"),
      (["svd", "--weight", "w", "--rank", "3", "--dtype", "f8"], "is not one of"),
    ] as [([String], String)])
  func badUsage(_ arguments: [String], _ message: String) throws {
    let outcome = try Program.run(["try"] + arguments)
    #expect(outcome.code == 2 && outcome.errors.contains(message), "\(outcome)")
  }

  @Test func tensorsThatAreNotThereOrDoNotFitAreNamed() throws {
    let problem = "\(Self.folder)/p64x96.safetensors"
    func run(_ weight: String, _ inputs: String) throws -> Program.Outcome {
      try Program.run("try", "wanda", "--weight", weight, "--inputs", inputs, "--sparsity", "0.5")
    }
    let missing = try run("\(problem):V", "\(problem):X")
    #expect(missing.code == 2 && missing.errors.contains("has no tensor `V`"), "\(missing)")
    let several = try run(problem, "\(problem):X")
    #expect(several.code == 2 && several.errors.contains("say which"), "\(several)")
    let misfit = try run("\(problem):W", "\(problem):W")
    #expect(misfit.code == 0, "\(misfit)")
    let vector = try run("\(problem):W", "\(problem):bias")
    #expect(vector.code == 2 && vector.errors.contains("rows of 96 numbers"), "\(vector)")
    let nowhere = try run("/no/such.safetensors:W", "\(problem):X")
    #expect(nowhere.code == 1 && nowhere.errors.contains("checkpoint.missing"), "\(nowhere)")
    let tight = try Program.run(
      "try", "wanda", "--weight", "\(problem):W", "--inputs", "\(problem):X", "--sparsity", "0.5", "--memory", "32M")
    #expect(tight.code == 1 && tight.errors.contains("memory.ceiling"), "\(tight)")
  }

  @Test func aMethodIsExplained() throws {
    let outcome = try Program.run("try", "sparsegpt", "--explain")
    #expect(outcome.code == 0 && outcome.output.contains("--set damp=") && outcome.output.contains("second moment"))
  }
}
