public import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

/// `espalier-manifest.json`: what an output was made of and what it must contain.
///
/// Holds nothing that differs between two runs of one recipe (no times, no thread counts), so that equal outputs have
/// equal manifests.
public enum Manifest {
  public static let fileName = "espalier-manifest.json"
  public static let format = 1

  /// - Parameters:
  ///   - made: what made the output: verb, version, recipe, seed, as the caller words it.
  ///   - records: digests of every tensor written and read.
  ///   - small: every other file of the folder but the manifest.
  ///   - fileDigests: SHA-256 of files by name, where asked for.
  public static func json(
    made: [(String, JSON)], layout: OutputLayout, records: [TensorRecord], small: [(name: String, bytes: [UInt8])],
    fileDigests: [String: String]
  ) -> JSON {
    let digestOf = Dictionary(
      records.map { (ExactString($0.tensor), $0.digest) }, uniquingKeysWith: { first, _ in first })
    let files = layout.files.enumerated().map { number, file -> JSON in
      var members: [(String, JSON)] = [
        ("name", .string(file.name)), ("bytes", .number(file.byteCount)),
        ("header", .string(headerDigest(file).description)),
      ]
      if layout.liesBeside { members.append(("beside", .bool(true))) }
      if let sha = fileDigests[file.name] { members.append(("sha256", .string(sha))) }
      let tensors = layout.tensors.filter { $0.file == number }.sorted { $0.offset < $1.offset }
      members.append(
        (
          "tensors",
          .array(
            tensors.map { tensor in
              [
                "name": .string(tensor.name), "dtype": .string(tensor.format.name),
                "shape": .array(tensor.shape.map { .number($0) }), "offset": .number(tensor.offset),
                "xxh3": .string(digestOf[ExactString(tensor.name)]?.description ?? ""),
              ]
            })
        ))
      return .object(members)
    }
    let smallFiles = small.map { file -> JSON in
      var members: [(String, JSON)] = [
        ("name", .string(file.name)), ("bytes", .number(file.bytes.count)),
        ("xxh3", .string(file.bytes.withUnsafeBytes { Digest(of: $0) }.description)),
      ]
      if let sha = fileDigests[file.name] { members.append(("sha256", .string(sha))) }
      return .object(members)
    }
    return .object(
      [("espalier_manifest", .number(format))] + made
        + [("inputs", inputs(records)), ("files", .array(files)), ("small_files", .array(smallFiles))])
  }

  /// The digest of what is before the data; of safetensors files without the length it begins with.
  private static func headerDigest(_ file: OutputLayout.OutputFile) -> Digest {
    file.header.dropFirst(file.name.hasSuffix(".gguf") ? 0 : 8).withUnsafeBytes { Digest(of: $0) }
  }

  /// Names of the files beside a folder that its manifest tells of.
  static func besides(in folder: String) -> [String] {
    guard let bytes = try? FileSystem.read("\(folder)/\(fileName)"), let json = try? JSON(parsing: bytes) else {
      return []
    }
    return (json["files"]?.array ?? []).filter { $0["beside"]?.bool == true }.compactMap { $0["name"]?.string }
      .filter { !$0.contains("/") }
  }

  /// Digests of all tensors read, by file.
  private static func inputs(_ records: [TensorRecord]) -> JSON {
    var byFile: [String: [String: Digest]] = [:]
    for input in records.flatMap(\.inputs) { byFile[input.file, default: [:]][input.tensor] = input.digest }
    return .array(
      byFile.keys.sorted().map { file in
        let tensors = byFile[file] ?? [:]
        return [
          "file": .string(file),
          "tensors": .object(tensors.keys.sorted().map { ($0, .string(tensors[$0]?.description ?? "")) }),
        ]
      })
  }
}
