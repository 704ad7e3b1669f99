internal import EspalierBasics
internal import EspalierCheckpoints

/// The metadata of a GGUF file as formulas see them.
///
/// Keys of the architecture come without its name (`embedding_length`), all others as they are
/// (`tokenizer.ggml.bos_token_id`). In addition: `shapes.NAME`, sizes of a tensor; `stored.NAME`, true for every tensor
/// there is; `rope.dimension_share`, the part of a head that is rotated. The bases of rotary frequencies,
/// `rope.freq_base` and `rope.freq_base_swa`, are always there: 10,000 is what llama.cpp takes where a file is silent.
struct GGUFMetadataView {
  let json: JSON

  /// Longer arrays are vocabularies, which no formula needs.
  private static let longestList = 4096

  init(_ metadata: GGUFMetadata, tensors: [StoredTensor], architecture: String) {
    var members = JSON.Members()
    let prefix = architecture + "."
    for key in metadata.keys {
      guard let value = metadata[key].flatMap(Self.json) else { continue }
      members[key.hasPrefix(prefix) ? String(key.dropFirst(prefix.count)) : key] = value
    }
    for tensor in tensors {
      members["shapes." + tensor.name] = .array(tensor.shape.map { .number($0) })
      members["stored." + tensor.name] = true
    }
    if let width = members["embedding_length"]?.integer, let heads = members["attention.head_count"]?.integer,
      let rotated = members["rope.dimension_count"]?.integer, heads > 0, width >= heads
    {
      let head = members["attention.key_length"]?.integer ?? width / heads
      if head > 0 { members["rope.dimension_share"] = .number(Double(rotated) / Double(head)) }
    }
    for key in ["rope.freq_base", "rope.freq_base_swa"] where members[key] == nil { members[key] = .number(10000.0) }
    json = .object(members)
  }

  private static func json(_ value: GGUFValue) -> JSON? {
    switch value {
    case .integer(let value): .number(value)
    case .unsigned: nil
    // The shortest decimal that gives the float: 1e-06 was meant, not 9.999999974752427e-07.
    case .f32(let value): value.isFinite ? .literal("\(value)") : nil
    case .f64(let value): value.isFinite ? .number(value) : nil
    case .truth(let value): .bool(value)
    case .string: value.text.map { .string($0) }
    case .array(let array): array.count <= longestList ? list(array) : nil
    }
  }

  private static func list(_ array: GGUFArray) -> JSON? {
    if let strings = array.strings { return .array(strings.map { .string(String(decoding: $0, as: UTF8.self)) }) }
    return array.values.map { .array($0.compactMap(json)) }
  }
}
