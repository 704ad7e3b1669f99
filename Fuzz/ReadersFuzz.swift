// One libFuzzer target for everything that reads a stranger's bytes. The first byte of an input chooses the reader;
// the rest is what it reads. `scripts/fuzz` compiles this file together with the sources it tests.

/// Called by libFuzzer. A trap or a sanitizer's report is a finding; problems are what readers should answer.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let data, count > 0 else { return 0 }
  let bytes = Array(UnsafeBufferPointer(start: data + 1, count: count - 1))
  switch data[0] % 5 {
  case 0: readJSON(bytes)
  case 1: readSafetensors(bytes)
  case 2: _ = try? ShardIndex(parsing: bytes)
  case 3: readAdapterConfiguration(bytes)
  default: readPattern(bytes)
  }
  return 0
}

/// What was read is written, read again and must be the same.
private func readJSON(_ bytes: [UInt8]) {
  guard let json = try? JSON(parsing: bytes) else { return }
  let texts = [json.text(), json.text(pretty: true)]
  for text in texts where (try? JSON(parsing: text)) != json { fatalError("JSON does not survive writing: \(text)") }
}

/// The bytes are a whole file; tensors that are accepted must lie inside it.
private func readSafetensors(_ bytes: [UInt8]) {
  guard let length = try? SafetensorsHeader.length(Array(bytes.prefix(8)), fileSize: bytes.count),
    let header = try? SafetensorsHeader(parsing: Array(bytes[8..<8 + length]), file: "f", fileSize: bytes.count)
  else { return }
  for tensor in header.tensors {
    let product = tensor.shape.reduce(1, *) * tensor.elementType.byteWidth
    guard tensor.offset >= 8, tensor.offset + tensor.byteCount <= bytes.count, product == tensor.byteCount else {
      fatalError("a tensor outside the file: \(tensor)")
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
