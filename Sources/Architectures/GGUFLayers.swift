internal import EspalierBasics
internal import EspalierCheckpoints

/// How GGUF files say what single layers of a family have of their own: arrays in the metadata, with an entry a layer.
///
/// Every architecture's reader in llama.cpp accepts such arrays, but few make their tensors and their graph by them; the
/// others take the first layer for all. So uneven models of a family may be files of another architecture.
struct GGUFLayers: Sendable {
  /// `general.architecture` of files of uneven models.
  var architecture: String
  /// Config keys that layers can have values of their own of, each with the metadata key of the array.
  var arrays: [(key: String, metadata: String)]
  /// Blocks that a layer can lack, with the arrays that are zero then.
  var zeros: [(block: String, metadata: [String])]
  /// Entries of uneven models in place of the family's.
  var metadata: [GGUFWriting.Entry]
  /// What such files cannot say: conditions on a `layer` and the blocks it is `without`.
  var refusals: [(condition: Expression, what: String)]
}

extension GGUFLayers {
  /// The metadata as one layer sees them: with its entries in place of arrays.
  func scope(ofLayer layer: Int, in scope: Scope) -> Scope {
    self.scope(in: scope) { $0.indices.contains(layer) ? $0[layer] : nil }.with("layer", .integer(layer))
  }

  /// The metadata with the largest entry in place of each array.
  func scopeOfAll(in scope: Scope) -> Scope { self.scope(in: scope) { $0.max() } }

  private func scope(in scope: Scope, _ entry: ([Int]) -> Int?) -> Scope {
    var scope = scope
    for (_, key) in arrays {
      guard let list = list(key, in: scope), let value = entry(list) else { continue }
      scope.variables[key] = .integer(value)
    }
    return scope
  }

  /// The array under a key, if it is one.
  private func list(_ key: String, in scope: Scope) -> [Int]? {
    guard let elements = scope.config.value(at: key)?.array else { return nil }
    let numbers = elements.compactMap(\.integer)
    return numbers.count == elements.count ? numbers : nil
  }

  // MARK: - Reading

  /// What single layers have of their own, by the arrays of a file; nil if they are alike.
  ///
  /// - Parameters:
  ///   - count: the number of layers.
  ///   - metadata: the scope of the file's metadata.
  ///   - config: how the family's config comes from metadata.
  /// - Throws: `gguf.metadata` for arrays of another length, or a layer that lacks part of a block.
  func entries(
    count: Int, metadata: Scope, config: [(key: String, value: ConfigTemplate)]
  ) throws(Problem) -> [LayerEntry]? {
    let found = arrays.filter { metadata.config.value(at: $0.metadata)?.array != nil }
    guard !found.isEmpty else { return nil }
    for (_, key) in found {
      guard let list = list(key, in: metadata), list.count == count, list.allSatisfy({ $0 >= 0 }) else {
        throw Problem(.ggufMetadata, "`\(key)` should have a whole number for each of \(count) layers")
      }
    }
    var entries: [LayerEntry] = []
    for layer in 0..<count {
      do throws(Problem) { entries.append(try entry(layer, metadata: metadata, config: config)) } catch {
        throw Problem(error.code, "layer \(layer): \(error.message)", remedy: error.remedy)
      }
    }
    return entries.allSatisfy(\.isEven) ? nil : entries
  }

  private func entry(
    _ layer: Int, metadata: Scope, config: [(key: String, value: ConfigTemplate)]
  ) throws(Problem) -> LayerEntry {
    let own = scope(ofLayer: layer, in: metadata)
    var entry = LayerEntry()
    var absent: Set<String> = []
    for (block, keys) in zeros {
      let zero = keys.filter { (try? own.lookUp($0)) == .integer(0) }
      guard !zero.isEmpty else { continue }
      guard zero.count == keys.count else {
        throw Problem(
          .ggufMetadata, "`\(zero.joined(separator: "`, `"))` is 0, and the other sizes of its block \(block) are not",
          remedy: "Such layers, linear maps in place of attention, are not supported.")
      }
      entry.missing.append(block)
      absent.formUnion(keys)
    }
    for (key, name) in arrays where !absent.contains(name) {
      guard let template = config.first(where: { $0.key == key })?.value else { continue }
      let value = try template.value(in: own)?.integer
      let usual = try template.value(in: scopeOfAll(in: metadata))?.integer
      if let value, value != usual { entry[key] = value }
    }
    return entry
  }

  // MARK: - Writing

  /// The arrays of a model.
  ///
  /// - Parameters:
  ///   - entries: what its layers have of their own.
  ///   - scopes: of each layer's formulas.
  ///   - problems: gets what no array can say.
  func metadata(
    _ entries: [LayerEntry], scopes: [Scope], problems: inout Problems
  ) -> [(key: String, value: GGUFTypedValue)] {
    for (layer, entry) in entries.enumerated() {
      for key in entry.keys where !arrays.contains(where: { $0.key == key }) {
        problems.add(Problem(.ggufConfig, "layer \(layer): llama.cpp has no array of `\(key)`"))
      }
      let blocks = entry.missing.map { Value.text($0) }
      let scope = scopes[layer].with("without", .list(blocks))
      for block in entry.missing where !zeros.contains(where: { $0.block == block }) {
        problems.add(Problem(.ggufConfig, "layer \(layer): llama.cpp computes no layer without \(block)"))
      }
      for (condition, what) in refusals
      where problems.collect({ () throws(Problem) in try condition.truth(in: scope) }) == true {
        problems.add(Problem(.ggufConfig, "layer \(layer): \(what)"))
      }
    }
    var found: [(key: String, value: GGUFTypedValue)] = []
    for (key, name) in arrays {
      let values = problems.collect { () throws(Problem) in
        var values: [Int32] = []
        for (entry, scope) in zip(entries, scopes) {
          let isAbsent = zeros.contains { entry.missing.contains($0.block) && $0.metadata.contains(name) }
          values.append(isAbsent ? 0 : Int32(clamping: try scope.lookUp(key).integer(of: key)))
        }
        return values
      }
      if let values { found.append(("\(architecture).\(name)", .i32s(values))) }
    }
    return found
  }
}

// MARK: - In descriptions

extension DescriptionReader {
  /// The `layers` section of a family's `gguf` section.
  mutating func ggufLayers(_ json: JSON, at path: String) -> GGUFLayers? {
    let keys = ["architecture", "arrays", "without", "metadata", "refuses"]
    guard let members = object(json, at: path, keys: keys) else { return nil }
    guard let architecture = text(members["architecture"], at: path + ".architecture") else { return nil }
    return GGUFLayers(
      architecture: architecture,
      arrays: named(members["arrays"], at: path + ".arrays") { reader, key, json, path in
        reader.text(json, at: path).map { (key: key, metadata: $0) }
      },
      zeros: named(members["without"], at: path + ".without") { reader, block, json, path in
        (block: block, metadata: reader.texts(json, at: path))
      },
      metadata: ggufEntries(members["metadata"], at: path + ".metadata"),
      refusals: conditions(members["refuses"], at: path + ".refuses"))
  }
}
