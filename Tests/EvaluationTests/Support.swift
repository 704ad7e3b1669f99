import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import Synchronization
import TestSupport

/// Opens a model of these tensors, written into a folder of its own within `folder`.
func model(
  _ tensors: [TestTensor], named name: String = "model", config: JSON? = nil, in folder: String
) throws -> SafetensorsCheckpoint {
  let path = "\(folder)/\(name)"
  try FileSystem.createFolder(path)
  try TestTensor.write(tensors, to: "\(path)/model.safetensors")
  if let config { try FileSystem.write(Array(config.text().utf8), to: "\(path)/config.json") }
  return try SafetensorsCheckpoint(at: path)
}

/// Adds up what it hears.
final class ProgressSum: ProgressListener {
  private let sums = Mutex((total: 0, advanced: 0, ended: 0))

  func receive(_ event: ProgressEvent) {
    sums.withLock { sums in
      switch event {
      case .began(_, let totalBytes): sums.total += totalBytes
      case .advanced(let bytes): sums.advanced += bytes
      case .ended: sums.ended += 1
      default: break
      }
    }
  }

  var heard: (total: Int, advanced: Int, ended: Int) { sums.withLock { $0 } }
}

/// Parameters that a test puts together.
struct GivenCheckpoint: Checkpoint {
  var location = "given"
  var config: JSON?
  var parameters: [Parameter]
  var folder: String?
  var weightFiles: [String] = []
  var warnings: [Problem] = []
}
