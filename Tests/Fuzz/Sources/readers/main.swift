import Driver
import EspalierNumerics

@testable import EspalierBasics
@testable import EspalierCheckpoints

// Everything in Checkpoints that reads a stranger's bytes. The first byte of an input chooses the reader; the rest is
// what it reads. A trap or a sanitizer's report is a finding; problems are what readers should answer.
_ = fuzz { data, count in
  guard let data, count > 0 else { return 0 }
  let bytes = Array(UnsafeBufferPointer(start: data + 1, count: count - 1))
  switch data[0] % 6 {
  case 0: readJSON(bytes)
  case 1: readSafetensors(bytes)
  case 2: _ = try? ShardIndex(parsing: bytes)
  case 3: readAdapterConfiguration(bytes)
  case 4: readPattern(bytes)
  default: readHeader(bytes)
  }
  return 0
}

/// What was read is written, read again and must be the same.
private func readJSON(_ bytes: [UInt8]) {
  guard let json = try? JSON(parsing: bytes) else { return }
  let texts = [json.text(), json.text(pretty: true)]
  for text in texts where (try? JSON(parsing: text)) != json { finding("JSON does not survive writing: \(text)") }
}

/// The bytes are a whole file.
private func readSafetensors(_ bytes: [UInt8]) {
  guard let length = try? SafetensorsHeader.length(Array(bytes.prefix(8)), fileSize: bytes.count) else { return }
  parseHeader(Array(bytes[8..<8 + length]), fileSize: bytes.count)
}

/// The bytes are the length of the data in 16 bits and the JSON, so that changes do not break the header's length.
private func readHeader(_ bytes: [UInt8]) {
  guard bytes.count >= 2 else { return }
  let json = Array(bytes[2...])
  parseHeader(json, fileSize: 8 + json.count + Int(bytes[0]) + 256 * Int(bytes[1]))
}

/// Tensors that are accepted must lie inside the file.
private func parseHeader(_ json: [UInt8], fileSize: Int) {
  guard let header = try? SafetensorsHeader(parsing: json, file: "f", fileSize: fileSize) else { return }
  for tensor in header.tensors {
    let product = tensor.shape.reduce(1, *) * tensor.elementType.byteWidth
    guard tensor.offset >= 8, tensor.offset + tensor.byteCount <= fileSize, product == tensor.byteCount else {
      finding("a tensor outside the file: \(tensor)")
    }
  }
}

private func readAdapterConfiguration(_ bytes: [UInt8]) {
  guard let json = try? JSON(parsing: bytes), let configuration = try? AdapterConfiguration(json) else { return }
  for module in ["model.layers.1.self_attn.q_proj", "lm_head", ""] {
    _ = configuration.targets(module)
    _ = configuration.scale(of: module)
    _ = configuration.savesInFull(module)
  }
}

private func readPattern(_ bytes: [UInt8]) {
  let pattern = String(decoding: bytes.prefix(200), as: UTF8.self)
  guard let expression = try? RegularExpression(pattern) else { return }
  _ = expression.matches("model.layers.1.self_attn.q_proj")
}
