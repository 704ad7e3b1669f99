import Driver
import EspalierNumerics

@testable import EspalierArchitectures
@testable import EspalierBasics
@testable import EspalierCheckpoints

// GGUF headers: the bytes are a whole file. Tensors that are accepted must lie inside it, every value must be readable,
// and the families' mappings must answer whatever names and sizes there are.
_ = fuzz { data, count in
  guard let data, count > 0 else { return 0 }
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  guard let header = try? GGUFHeader(parsing: bytes, file: "f", fileSize: count) else { return 0 }
  for tensor in header.tensors {
    let blocks = tensor.shape.reduce(1, *) / tensor.type.blockLength
    guard tensor.offset >= 24, tensor.offset + tensor.byteCount <= count, tensor.offset % header.alignment == 0,
      blocks * tensor.type.blockBytes == tensor.byteCount
    else { finding("a tensor outside the file: \(tensor)") }
  }
  for key in header.metadata.keys {
    guard let value = header.metadata[key] else { finding("a key without a value: \(key)") }
    guard let array = value.array else { continue }
    guard (array.strings?.count ?? array.values?.count) == array.count else { finding("an array is cut: \(key)") }
  }
  let files = GGUFFiles(paths: ["f"], headers: [header])
  guard let stored = try? files.storedTensors() else { return 0 }
  let architecture = header.metadata.text("general.architecture") ?? ""
  let view = GGUFMetadataView(header.metadata, tensors: stored, architecture: architecture)
  let families = Architecture.builtIn()
  guard let family = try? Architecture.recognise(ggufArchitecture: architecture, view, among: families) else {
    return 0
  }
  // Factors of rotary embedding would be read from the file, which there is not.
  let named = stored.filter { !GGUFRotary.factorTensors.contains($0.name) }
  _ = try? GGUFCheckpoint.named(named, view, family: family, families: families)
  return 0
}
